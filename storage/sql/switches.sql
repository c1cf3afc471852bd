-- name: lock_switch
select epoch from kill_switch for update

-- name: read_state
select engaged, epoch, scope, reason, triggered_by, changed_at, request_id, swept_at, sweep_confirmed, sweep,
    unprotected
from kill_switch

-- name: engage
-- A trigger begins the sweep anew, here and below: who engages need not be able to say how a sweep went.
update kill_switch set
    engaged = true, epoch = epoch + 1, scope = $1, reason = $2, triggered_by = $3, changed_at = $4,
    request_id = $5

-- name: engage_again
update kill_switch set scope = case when $1 = 'all' then 'all' else scope end, request_id = $2
where engaged

-- name: release
update kill_switch set
    engaged = false, epoch = epoch + 1, scope = 'all', reason = $1, triggered_by = $2, changed_at = $3,
    sweep_confirmed = true

-- name: save_sweep
update kill_switch set swept_at = $1, sweep_confirmed = $2, sweep = $3::jsonb, unprotected = $4
where engaged

-- name: forget_fate
update kill_switch set sweep = sweep - $1::text where engaged

-- name: maybe_open
-- What may stand at the broker as far as rows can tell.
select client_order_id, broker_order_id is not null as acknowledged from orders
where settled_at is null and client_order_id is not null and post_count > 0
    and status not in ('REJECTED', 'CANCELED', 'FILLED', 'FATAL_ERROR')
order by client_order_id

-- name: ended_since
-- Of those that stood at the broker. $1: when the switch was engaged.
select client_order_id, status = 'FILLED' as filled from orders
where final_at >= $1 and client_order_id is not null and broker_order_id is not null
order by client_order_id

-- name: ends_of
-- Ended by the broker's word, or by proof that it never stood there.
select client_order_id, status = 'FILLED' as filled from orders
where client_order_id = any ($1::text[]) and status in ('REJECTED', 'CANCELED', 'FILLED', 'FATAL_ERROR')

-- name: released_by
select released_at from kill_releases where nonce = $1 and epoch = $2

-- name: insert_release
insert into kill_releases (nonce, epoch, person, reason, key_id, released_at) values ($1, $2, $3, $4, $5, $6)
on conflict do nothing
returning nonce

-- name: all_unknown
select client_order_id from orders
where settled_at is null and (
    'outcome_unknown' = any (flags) or (post_open and posting_deadline < clock_timestamp())
)
order by client_order_id

-- name: read_installation
select namespace, account, mode, bound_at from installation

-- name: bind_installation
update installation set account = $1, mode = $2, bound_at = $3 where account is null
returning namespace

-- name: save_operator_key
insert into operator_keys (key_id, public_key, person, created_at) values ($1, $2, $3, $4)
on conflict (key_id) do nothing
returning key_id

-- name: read_operator_key
select public_key from operator_keys where key_id = $1 and revoked_at is null

-- name: read_stream
select connected_at, last_seen_at, disconnected_at, fill_cursor, last_catch_up_at, last_update_at,
    orders_listed_at
from trade_stream

-- name: stream_connected
-- A start counts as a gap, however short: what happened meanwhile is compared before the first order after it.
update trade_stream set
    gap_ended_at = case when $1 - last_seen_at > $2::interval or ($3 and last_seen_at is not null) then $1
        else gap_ended_at end,
    connected_at = $1, last_seen_at = $1, disconnected_at = null

-- name: stream_seen
update trade_stream set
    gap_ended_at = case when $1 - last_seen_at > $2::interval then $1 else gap_ended_at end,
    last_seen_at = $1, last_update_at = greatest(last_update_at, $3)
returning doubted_at >= connected_at

-- name: doubt_stream
update trade_stream set doubted_at = $2
where connected_at < $1 and (last_update_at is null or last_update_at < $1)
returning doubted_at

-- name: stream_lost
update trade_stream set disconnected_at = coalesce(disconnected_at, $1), connected_at = null

-- name: caught_up
update trade_stream set
    last_catch_up_at = case when connected_at > $4 then $4 else $1 end,
    fill_cursor = greatest(coalesce(fill_cursor, $2), coalesce($2, fill_cursor)),
    orders_listed_at = case when not $3 then orders_listed_at when connected_at > $4 then $4 else $1 end
