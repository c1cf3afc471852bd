-- name: tables
select c.relname as name from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
order by c.relname

-- name: revoke_all
select format('revoke all on all tables in schema public from %I', $1::text)
union all
select format('revoke all on schema public from %I', $1::text)
union all
select format('revoke all on database %I from %I', current_database(), $1::text)

-- name: let_in
select format('grant connect on database %I to %I', current_database(), $1::text)
union all
select format('grant usage on schema public to %I', $1::text)

-- name: let_in_only_roles
select format('revoke all on database %I from public', current_database())
union all
select 'revoke all on schema public from public'
union all
select 'revoke all on all tables in schema public from public'

-- name: owns_locks
select rolsuper from pg_roles where rolname = current_user

-- name: has_function
select to_regprocedure($1) is not null

-- name: close_locks
select format('revoke all on function %s from public, %s', oid::regprocedure, array_to_string($1::text[], ', '))
from pg_proc
where pronamespace = 'pg_catalog'::regnamespace
    and (starts_with(proname, 'pg_try_advisory_') or proname ~ '^pg_advisory_(xact_)?lock')

-- name: can_log_in
select rolcanlogin from pg_roles where rolname = $1

-- name: set_password
-- Sessions: what a person has given is never taken back, and without a bound (-1) it stays.
select format(
    'alter role %I login password %L connection limit %s', rolname, $2::text,
    case when rolconnlimit < 0 then rolconnlimit else greatest(rolconnlimit, $3::int) end
)
from pg_roles where rolname = $1
