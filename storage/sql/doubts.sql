-- name: doubted
-- Orders with a broker id that the broker has denied, and that are to be asked for again.
select signal_id, leg, generation, broker_order_id, client_order_id, first_post_at, absent_lookups, absent_since
from orders
where settled_at is null and final_at is null and broker_order_id is not null and absent_lookups > 0
    and (absent_lookups < $1 or absent_since <= $2)
-- Stops first: what they protect is bare meanwhile.
order by leg = 'entry', absent_since, signal_id
limit $3

-- name: note_denial
update orders set absent_lookups = absent_lookups + 1, absent_since = coalesce(absent_since, $2), updated_at = $3
where internal_order_id = $1
returning *

-- name: forget_denials
update orders set absent_lookups = 0, absent_since = null, updated_at = $2
where internal_order_id = $1 and absent_lookups > 0 and broker_order_id is not null

-- name: unknown_for
-- Since when nobody knows: the last POST, or the first denial of an order that the broker had shown.
select client_order_id, signal_id, ticker, action, quantity
from orders
where settled_at is null and client_order_id is not null
    and ('outcome_unknown' = any (flags) or (post_open and posting_deadline < clock_timestamp()))
    and case when broker_order_id is null then posting_deadline - make_interval(secs => $2) else absent_since end
        <= clock_timestamp() - make_interval(secs => $1)
order by client_order_id

-- name: alerted_unknown
select subject from alerts where code = 'OUTCOME_UNKNOWN' and cleared_at is null order by subject
