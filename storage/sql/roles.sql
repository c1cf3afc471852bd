-- name: tables
select c.relname as name from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
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

-- name: set_password
select format('alter role %I login password %L', $1::text, $2::text)
