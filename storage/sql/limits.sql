-- name: in_force
select version, scope, name, document, author, reason, created_at, expires_at from limits_in_force($1, $2, $3)

-- name: lasting
select version, scope, name, document, author, reason, created_at, expires_at from limits
where scope = $1 and name = $2 and expires_at is null
order by version desc limit 1

-- name: history
select version, scope, name, document, author, reason, created_at, expires_at from limits
where $1::text is null or (scope = $1 and name = $2)
order by version desc limit $3

-- name: names
select distinct scope, name from limits where scope <> 'account' order by scope, name

-- name: insert_limits
insert into limits (scope, name, document, author, reason, created_at, expires_at)
values ($1, $2, $3::jsonb, $4, $5, $6, $7) returning version

-- name: every_in_force
select f.version, f.scope, f.name, f.document, f.author, f.reason, f.created_at, f.expires_at
from (select distinct scope, name from limits) known, limits_in_force(known.scope, known.name, $1) f
order by f.scope, f.name
