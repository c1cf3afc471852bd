-- name: wake
-- Once for each signature.
with fresh as (
    insert into seen_wakes (signature, signed_at) values ($1, $2)
    on conflict (signature) do nothing
    returning signature
)
update broker_wakes set wakes = wakes + 1, woken_at = $3
from fresh
returning wakes

-- name: forget_wakes
delete from seen_wakes where signed_at < $1

-- name: wake_waits
select wakes > answered and (tried_at is null or tried_at <= $1 or tried_at > $2) as waits from broker_wakes

-- name: claim_wake
update broker_wakes set tried_at = $2
where wakes > answered and (tried_at is null or tried_at <= $1 or tried_at > $2)
returning wakes

-- name: answer_wake
update broker_wakes set answered = greatest(answered, $1)
