-- name: lock
insert into symbol_locks (lock_id, ticker, locked_at, until, reason, locked_by, person_id)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (lock_id) do nothing
returning lock_id

-- name: lift
update symbol_locks set lifted_at = $2, lifted_by = $3, lift_reason = $4
where lock_id = $1 and lifted_at is null and (until is null or until > $2)
returning lock_id, ticker, locked_at, until, reason, locked_by, person_id, lifted_at, lifted_by, lift_reason

-- name: read
select lock_id, ticker, locked_at, until, reason, locked_by, person_id, lifted_at, lifted_by, lift_reason
from symbol_locks where lock_id = $1

-- name: holding
select lock_id, ticker, locked_at, until, reason, locked_by, person_id, lifted_at, lifted_by, lift_reason
from symbol_locks
where lifted_at is null and (until is null or until > $1) and ($2::text is null or ticker = $2)
order by ticker, until desc nulls first, locked_at
limit $3

-- name: history
select lock_id, ticker, locked_at, until, reason, locked_by, person_id, lifted_at, lifted_by, lift_reason
from symbol_locks
order by locked_at desc, lock_id
limit $1
