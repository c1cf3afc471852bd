-- name: page
-- Newest first, from before ($5, $6) on. $1: 'open', 'unknown', or a status. $4: an id, or what a signal's id begins with.
-- The middle of the quote that risk decided by stands in its arithmetic alone.
select o.*, s.received_at, d.decided_at, (
        select substring(each ->> 'formula' from ' % of mid ([0-9.]+)')::numeric
        from jsonb_array_elements(d.checks) each
        where each ->> 'name' = 'PRICE_COLLAR'
    ) as arrival_price
from orders o
join signals s using (signal_id)
left join decisions d using (signal_id, leg, generation)
where case $1::text
        when 'open' then o.settled_at is null
        when 'unknown' then o.settled_at is null and 'outcome_unknown' = any (o.flags)
        else $1 is null or o.status = $1
    end
    and ($2::text is null or o.ticker = $2)
    and ($3::text is null or o.strategy = $3)
    and (
        $4::text is null or starts_with(o.signal_id, $4) or o.client_order_id = $4 or o.broker_order_id = $4
        or o.internal_order_id = case when $4 ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then $4::uuid end
        or o.predecessors @> array[$4]
        or position(upper($4) in upper(coalesce(o.reason, ''))) > 0
    )
    and ($5::timestamptz is null or (o.created_at, o.internal_order_id) < ($5, $6::uuid))
order by o.created_at desc, o.internal_order_id desc
limit $7

-- name: arrival_price
select substring(each ->> 'formula' from ' % of mid ([0-9.]+)')::numeric
from decisions d, jsonb_array_elements(d.checks) each
where (d.signal_id, d.leg, d.generation) = ($1, $2, $3) and each ->> 'name' = 'PRICE_COLLAR'

-- name: count_open
select status, count(*) as count, count(*) filter (where 'outcome_unknown' = any (flags)) as unknown
from orders where settled_at is null
group by status

-- name: strategies
-- Who has proposed anything lately, for the filters.
select distinct strategy from (
    select strategy from signals order by received_at desc limit $1
) newest
order by strategy

-- name: latencies
-- Of entries that the broker has taken: from the signal's arrival, and from risk's word, in milliseconds.
select o.acknowledged_at, o.signal_id, o.ticker, extract(epoch from o.acknowledged_at - s.received_at) * 1000 as whole_ms,
    extract(epoch from o.acknowledged_at - d.decided_at) * 1000 as broker_ms
from orders o
join signals s using (signal_id)
join decisions d using (signal_id, leg, generation)
where o.leg = 'entry' and o.acknowledged_at >= $1 and o.created_at >= $1
order by o.created_at desc
limit $2

-- name: signals_page
-- Newest first, from before ($4, $5) on. $3: a reason, 'any' for every rejection.
select s.signal_id, s.strategy, s.ticker, s.action, s.order_type, s.time_in_force, s.quantity, s.limit_price,
    s.stop_price, s.received_at, s.valid_until, o.status, o.reason, o.user_message, o.filled_quantity,
    o.average_price, d.approved, d.decided_at
from signals s
join orders o on o.signal_id = s.signal_id and o.leg = 'entry' and o.generation = 0
left join decisions d on d.signal_id = s.signal_id and d.leg = 'entry' and d.generation = 0
where ($1::text is null or s.strategy = $1)
    and ($2::text is null or s.ticker = $2)
    and case when $3::text is null then true
        when $3 = 'any' then o.status = 'REJECTED'
        else o.status = 'REJECTED' and $3 = any (string_to_array(o.reason, ','))
    end
    and ($4::timestamptz is null or (s.received_at, s.signal_id) < ($4, $5::text))
order by s.received_at desc, s.signal_id desc
limit $6

-- name: rejections
-- By strategy, by reason and by span of time, of the signals since $1; $2 is the span.
with asked as (
    select s.strategy, date_bin($2, s.received_at, $1) as at, o.status = 'REJECTED' as rejected,
        o.filled_quantity > 0 as filled, o.reason
    from signals s
    join orders o on o.signal_id = s.signal_id and o.leg = 'entry' and o.generation = 0
    where s.received_at >= $1
)
select 'strategy' as by, strategy as name, null::timestamptz as at, count(*) as signals,
    count(*) filter (where rejected) as rejected, count(*) filter (where filled) as filled
from asked group by strategy
union all
select 'reason', reasons.name, null, count(*), count(*), 0
from asked, unnest(string_to_array(coalesce(asked.reason, 'not said'), ',')) as reasons (name)
where rejected group by reasons.name
union all
select 'time', null, at, count(*), count(*) filter (where rejected), count(*) filter (where filled)
from asked group by at

-- name: words
select rationale, sources from strategys_words($1)

-- name: search_audit
-- Newest first, from before row $6 on.
select a.id, a.occurred_at, a.correlation_id, a.component, a.actor, a.decision, l.sequence,
    p.payload is not null as is_here, p.payload::jsonb ->> 'detail' as detail
from audit_log a
left join audit_leaves l on l.audit_id = a.id
left join audit_payloads p on p.audit_id = a.id
where ($1::text is null or a.correlation_id = $1)
    and ($2::text is null or a.component = $2)
    and ($3::text is null or a.decision = $3)
    and ($4::timestamptz is null or a.occurred_at >= $4)
    and ($5::timestamptz is null or a.occurred_at < $5)
    and ($6::bigint is null or a.id < $6)
order by a.id desc
limit $7

-- name: health
-- How each thing that we rest on stands, by the rows that it leaves.
select $1::timestamptz - c.read_at as clock_age, c.is_open, c.next_open, c.next_close, c.broker_at, c.read_at, c.speed,
    s.last_seen_at as stream_seen_at, s.connected_at as stream_connected_at, s.last_catch_up_at,
    h.is_open as halted, h.cause as halt_cause, h.changed_at as halt_changed_at, h.failures,
    (select occurred_at from events where position is null order by sequence limit 1) as oldest_waiting_at,
    (select position from event_relay) as newest_position,
    (select max(size) from audit_head) as sealed,
    (select occurred_at from audit_unsealed order by id limit 1) as oldest_unsealed_at
from (select) one
left join market_clock c on true
left join trade_stream s on true
left join broker_halt h on true
