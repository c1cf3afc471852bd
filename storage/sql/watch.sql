-- name: unsettled
select created_at, signal_id from orders
where settled_at is null and leg = 'entry' and created_at < $1 and (created_at, signal_id) > ($2, $3)
order by created_at, signal_id
limit $4

-- name: never_checked
select signal_id from orders
where settled_at is null and leg = 'entry' and created_at < $1 and workflow_checked_at is null
order by created_at
limit $2

-- name: longest_unchecked
select signal_id from orders
where settled_at is null and leg = 'entry' and created_at < $1 and workflow_checked_at is not null
order by workflow_checked_at
limit $2

-- name: is_unsettled
select exists (select from orders where signal_id = $1 and settled_at is null)

-- name: mark_checked
update orders set workflow_checked_at = $2 where signal_id = any ($1::text[]) and leg = 'entry' and settled_at is null

-- name: mark_unchecked
update orders set workflow_checked_at = null where internal_order_id = any ($1::uuid[])

-- name: count_unsettled_before
select count(*) from orders where settled_at is null and leg = 'entry' and created_at < $1

-- name: count_unsettled
select count(*) from orders where settled_at is null

-- name: unsignalled
-- Also entries that were proved gone after the broker had shown them: settled, but not by their workflow.
select * from orders
where signalled_version < row_version and settled_at is null and updated_at < $1
    and status not in ('CREATED')
union all
select * from orders
where signalled_version < row_version and settled_at is not null and updated_at < $1
    and leg = 'entry' and status = 'FATAL_ERROR' and broker_order_id is not null
order by updated_at
limit $2

-- name: mark_signalled
update orders set signalled_version = greatest(signalled_version, $2) where internal_order_id = $1

-- name: open_at_broker
select broker_order_id, raw_status, broker_filled_quantity, replaced_by,
    absent_lookups > 0 and final_at is null as doubted
from orders
where settled_at is null and broker_order_id is not null
order by created_at
limit $1

-- name: known_executions
select activity_id from executions where activity_id = any ($1::text[])

-- name: newest_untold
-- By its list alone the broker told of these: the stream names executions by another id.
select max(executed_at) from executions where executed_at > $1 and execution_id is null and not busted

-- name: fills_missing
select * from orders where fills_missing_since < $1 order by fills_missing_since limit $2

-- name: fills_found
-- Alerts of orders whose executions have all come.
select a.subject from alerts a
where a.code = $1 and a.cleared_at is null
    and not exists (
        select from orders o
        where coalesce(o.client_order_id, o.signal_id) = a.subject and o.fills_missing_since is not null
    )

-- name: note_message
insert into noted_messages (message_key, internal_order_id, noted_at) values ($1, $2, $3)
on conflict (message_key) do nothing
returning message_key
