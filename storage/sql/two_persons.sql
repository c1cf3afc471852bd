-- name: read_rule
select r.always, i.mode from approval_rule r cross join installation i

-- name: set_rule
update approval_rule set always = $1 where always is distinct from $1 returning always

-- name: ask
insert into approvals_asked (
    approval_id, kind, content, content_hash, reason, asked_by, asked_name, asked_at, expires_at
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (approval_id) do nothing
returning approval_id

-- name: lock_asked
select * from approvals_asked where approval_id = $1 for update

-- name: standing
-- Whoever would take a role from them waits until this transaction has ended.
select person_id, name, role, disabled_at is not null as disabled, standing_since from people
where person_id = $1 for share

-- name: end_asked
update approvals_asked set state = $2, decided_by = $3, decided_name = $4, decided_at = $5
where approval_id = $1 and state = 'asked'
returning *

-- name: take_up
update approvals_asked set asked_by = $2, asked_name = $3
where approval_id = $1 and state = 'asked' and asked_by is null
returning *

-- name: read_asked
select * from approvals_asked where approval_id = $1

-- name: list_asked
-- $1: those that have ended or expired too.
select * from approvals_asked
where $1 or (state = 'asked' and expires_at > $2)
order by state <> 'asked', asked_at desc, approval_id
limit $3
