-- name: take_lock
select pg_advisory_lock($1)

-- name: create_record
create table if not exists schema_migrations (
    version text primary key, sha256 text not null, applied_at timestamptz not null default clock_timestamp()
)

-- name: has_record
select to_regclass('schema_migrations')

-- name: read_applied
select version, sha256 from schema_migrations

-- name: record_applied
insert into schema_migrations (version, sha256) values ($1, $2)
