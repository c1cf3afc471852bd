-- name: read_order
select * from orders where signal_id = $1 and leg = $2 and ($3::integer is null or generation = $3)
order by generation desc
limit 1

-- name: lock_order
select * from orders where signal_id = $1 and leg = $2 and ($3::integer is null or generation = $3)
order by generation desc
limit 1
for update

-- name: find_by_broker_id
select signal_id, leg, generation from orders where broker_order_id = $1 or client_order_id = $2 limit 1

-- name: lock_by_broker_id
select *, (select traceparent from signals where signals.signal_id = orders.signal_id) as traceparent
from orders where broker_order_id = $1 or client_order_id = $2 limit 1 for update

-- name: lock_by_chain
select *, (select traceparent from signals where signals.signal_id = orders.signal_id) as traceparent
from orders where broker_order_id = $1 or replaced_by = $2 or predecessors @> array[$2::text] limit 1 for update

-- name: find_by_client_id
select * from orders where client_order_id = $1

-- name: find_by_any_id
select signal_id, leg, generation from orders
where signal_id = $1 or client_order_id = $1 or broker_order_id = $1
    or internal_order_id = case when $1 ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then $1::uuid end
    or predecessors @> array[$1::text]
-- A signal's id is its entry's; a leg is found by its own.
order by leg <> 'entry'
limit 1

-- name: order_fills
select execution_id, activity_id, broker_order_id, ticker, side, quantity, price, cumulative_quantity,
    executed_at, busted, corrects
from executions where internal_order_id = $1 order by id

-- name: insert_execution
insert into executions (
    internal_order_id, execution_id, activity_id, broker_order_id, strategy, ticker, side, quantity, price,
    cumulative_quantity, executed_at, recorded_at, busted, corrects
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)

-- name: update_execution
update executions set
    execution_id = coalesce(execution_id, $2), activity_id = coalesce(activity_id, $3),
    quantity = $4, price = $5, cumulative_quantity = $6, busted = $7, executed_at = $8,
    corrects = coalesce(corrects, $9)
where internal_order_id = $1
    and (execution_id = $2 or activity_id = $3)

-- name: add_to_position
insert into positions (ticker, strategy, quantity, cash, updated_at) values ($1, $2, $3, $4, $5)
on conflict (ticker, strategy) do update set
    quantity = positions.quantity + excluded.quantity,
    cash = positions.cash + excluded.cash,
    updated_at = excluded.updated_at

-- name: save_order
with shrunk as (
    update reservations r set quantity = $15
    from orders o
    where o.internal_order_id = $1 and r.state in ('held', 'working')
        and (r.signal_id, r.leg, r.generation) = (o.signal_id, o.leg, o.generation)
)
update orders set
    status = $2, flags = $3, raw_status = $4, broker_order_id = coalesce($5, broker_order_id),
    filled_quantity = $6, average_price = $7, broker_filled_quantity = $8, reason = $9,
    -- What was said of an order at work is over with its end.
    user_message = case when $13 and status <> $2 then $10 else coalesce($10, user_message) end, replaced_by = $11,
    acknowledged_at = case when $2 in ('ACKNOWLEDGED', 'PARTIALLY_FILLED', 'FILLED', 'CANCELED')
        and $5::text is not null then coalesce(acknowledged_at, $12) else acknowledged_at end,
    final_at = case when $13 then coalesce(final_at, $12) end,
    settled_at = case when $13 and not $20 then settled_at end,
    post_open = post_open and not $14, execution_count = $16, broker_quantity = nullif($17::numeric, quantity), predecessors = $18,
    workflow_checked_at = case when not $20 then workflow_checked_at end,
    fills_missing_since = case when $19 then coalesce(fills_missing_since, $12) end,
    -- A version is what workflows and people are told by: the broker's word alone is not news.
    row_version = row_version + case
        when (status, flags, filled_quantity, reason) is distinct from ($2, $3::text[], $6, $9)
            or broker_order_id is distinct from coalesce($5, broker_order_id) then 1
        else 0
    end,
    updated_at = $12
where internal_order_id = $1
returning *

-- name: begin_denials_anew
-- What was asked before the broker showed it proves nothing of what it says of this id.
update orders set absent_lookups = 0, absent_since = null where internal_order_id = $1
returning *

-- name: settle_order
with released as (
    update reservations r set state = 'released', ended_at = $2
    from orders o
    where o.internal_order_id = $1 and r.state in ('held', 'working')
        and (r.signal_id, r.leg, r.generation) = (o.signal_id, o.leg, o.generation)
)
update orders set settled_at = $2, row_version = row_version + 1, updated_at = $2
where internal_order_id = $1 and settled_at is null
returning *

-- name: restore_reservation
update reservations set state = 'working', quantity = $4, ended_at = null
where signal_id = $1 and leg = $2 and generation = $3 and state not in ('held', 'working')

-- name: raise_reservation_price
update reservations set price = $4
where signal_id = $1 and leg = $2 and generation = $3 and state in ('held', 'working') and price < $4

-- name: request_cancel
update orders set cancel_requested_by = coalesce(cancel_requested_by, $2), updated_at = $3
where internal_order_id = $1

-- name: list_orders
select * from orders
where ($1::text is null or status = $1)
    and ($2::text is null or ticker = $2)
    and ($3::text is null or strategy = $3)
    and (not $4 or settled_at is null)
order by created_at desc, signal_id
limit $5
