-- name: lock_account
select singleton from account for update

-- name: lapse_reservations
update reservations set state = 'lapsed', ended_at = $1 where state = 'held' and lapses_at <= $1
returning signal_id, ticker, quantity, price, lapses_at

-- name: read_facts
select
    s.ticker, s.strategy, s.action, s.order_type, s.time_in_force, s.quantity, s.limit_price, s.stop_price,
    s.hard_stop_loss, s.extended_hours, s.created_at, s.valid_until, s.signal_id,
    not exists (
        select from orders o
        where o.signal_id = s.signal_id and o.leg = 'entry'
            and (o.ticker, o.strategy, o.action, o.order_type, o.time_in_force, o.extended_hours, o.stop_price)
                is distinct from
                (s.ticker, s.strategy, s.action, s.order_type, s.time_in_force, s.extended_hours, s.stop_price)
    ) as as_signalled,
    a.equity, a.buying_power, a.taken_at,
    k.engaged, k.epoch, k.reason as kill_reason, k.changed_at as kill_changed_at, s.received_at as taken_in_at,
    l.rows as limits, locked.rows as locks,
    q.bid, q.ask, q.bid_size, q.ask_size, q.quoted_at, q.received_at,
    i.namespace, i.account, i.mode,
    f.client_order_id as refused_order, f.needed as refused_needed, f.refused_at,
    exists (select from reservations where state = 'held' and lapses_at <= $3) as some_lapsed,
    array(
        select o.client_order_id from orders o
        where o.ticker = s.ticker and o.settled_at is null
            and ('outcome_unknown' = any (o.flags) or (o.post_open and o.posting_deadline < clock_timestamp()))
        order by o.client_order_id
    ) as unknown_outcomes,
    coalesce((
        select sum(r.quantity * r.price)
        from reservations r join orders o using (signal_id, leg, generation)
        where r.state in ('held', 'working') and o.action in ('BUY_TO_OPEN', 'SELL_TO_OPEN')
            and (o.acknowledged_at is null or o.acknowledged_at >= a.taken_at)
    ), 0)
    + coalesce((
        select sum(e.quantity * e.price)
        from executions e join orders o using (internal_order_id)
        where o.action in ('BUY_TO_OPEN', 'SELL_TO_OPEN') and not e.busted and e.recorded_at >= a.taken_at
            and (o.acknowledged_at is null or o.acknowledged_at >= a.taken_at)
    ), 0) as spent
from signals s
cross join account a
cross join kill_switch k
cross join installation i
cross join lateral (
    select json_agg(row_to_json(f)) as rows
    from (values ('account', ''), ('strategy', s.strategy), ('ticker', s.ticker)) as wanted (scope, name),
        limits_in_force(wanted.scope, wanted.name, $2) f
) l
cross join lateral (
    select json_agg(row_to_json(k)) as rows
    from (
        select lock_id, ticker, locked_at, until, reason, locked_by from symbol_locks
        where ticker = s.ticker and lifted_at is null and (until is null or until > $3)
        order by until desc nulls first, locked_at
    ) k
) locked
left join latest_quotes q on q.ticker = s.ticker and q.provider = 'primary'
left join funds_refusals f on f.strategy = s.strategy and f.covered_at is null
where s.signal_id = $1

-- name: read_exposures
with held as (
    select ticker, strategy, quantity, cash from positions where quantity <> 0
), external as (
    -- At its own price, the quote's, or what the shares held have cost; null where nothing is known.
    select e.ticker, e.side, e.remaining, (e.document->>'notional')::numeric as notional,
        e.document->>'quantity' is not null as counted,
        coalesce(
            e.price, q.ask, q.bid,
            (select abs(sum(h.cash) / nullif(sum(h.quantity), 0)) from held h where h.ticker = e.ticker)
        ) as price
    from external_orders e
    left join latest_quotes q on q.ticker = e.ticker and q.provider = 'primary'
    where e.ended_at is null
), working as (
    select ticker, strategy, side, quantity, quantity * price as dollars, false as unpriced
    from reservations
    where state in ('held', 'working')
    union all
    -- An exit takes what it sells; a stop only waits for it.
    select ticker, strategy, case action when 'SELL_TO_CLOSE' then 'sell' else 'buy' end,
        quantity - filled_quantity, 0, false
    from orders
    where leg = 'exit' and status in ('SUBMITTED', 'ACKNOWLEDGED', 'PARTIALLY_FILLED')
    union all
    -- Open orders that are not ours can fill as well.
    select ticker, 'EXTERNAL', side,
        case when counted then remaining else coalesce(notional / nullif(price, 0), 0) end,
        case when counted then remaining * coalesce(price, 0) else coalesce(notional, 0) end,
        case when counted then remaining > 0 and price is null else notional is null end
    from external
), reserved as (
    select ticker, strategy,
        coalesce(sum(quantity) filter (where side = 'buy'), 0) as buy,
        coalesce(sum(quantity) filter (where side = 'sell'), 0) as sell,
        coalesce(sum(dollars) filter (where side = 'buy'), 0) as buy_notional,
        coalesce(sum(dollars) filter (where side = 'sell'), 0) as sell_notional,
        count(*) filter (where unpriced) as unpriced_orders
    from working
    group by ticker, strategy
)
select ticker, strategy,
    coalesce(h.quantity, 0) as held,
    coalesce(r.buy, 0) as reserved_buy, coalesce(r.sell, 0) as reserved_sell,
    coalesce(r.buy_notional, 0) as reserved_buy_notional,
    coalesce(r.sell_notional, 0) as reserved_sell_notional,
    coalesce(r.unpriced_orders, 0) as unpriced_orders,
    coalesce((q.bid + q.ask) / 2, q.ask, q.bid, abs(h.cash / nullif(h.quantity, 0)), 0) as mark
from held h
full join reserved r using (ticker, strategy)
left join (select * from latest_quotes where provider = 'primary') q using (ticker)
order by ticker, strategy

-- name: read_working
select signal_id, action, order_type, limit_price, stop_price from (
    select o.signal_id, o.action, o.order_type, o.limit_price, o.stop_price, o.created_at
    from orders o join reservations r using (signal_id, leg, generation)
    where r.ticker = $1 and r.state in ('held', 'working') and r.quantity > 0
    union all
    -- A protective leg stands there, or will in a moment.
    select signal_id, action, order_type, limit_price, stop_price, created_at
    from orders
    where ticker = $1 and leg <> 'entry' and status not in ('FILLED', 'CANCELED', 'REJECTED', 'FATAL_ERROR')
    union all
    -- What an order that is not ours is for, the broker takes from what the account holds.
    select e.client_order_id,
        case
            when e.side = 'buy' and held.quantity < 0 then 'BUY_TO_CLOSE'
            when e.side = 'buy' then 'BUY_TO_OPEN'
            when held.quantity > 0 then 'SELL_TO_CLOSE'
            else 'SELL_TO_OPEN'
        end,
        case when e.price is null then 'MARKET' else 'LIMIT' end, e.price, null, e.first_seen_at
    from external_orders e
    cross join (select coalesce(sum(quantity), 0) as quantity from positions where ticker = $1) held
    where e.ticker = $1 and e.ended_at is null
) working
order by created_at, signal_id

-- name: insert_rejection
insert into decisions (
    signal_id, leg, generation, approved, reasons, checks, quantity, limit_price, account_exposure_pct,
    limits_version, kill_epoch, decided_at, expires_at, user_message
) values ($1, $2, $3, false, $4, $5::jsonb, $6, $7, $8, $9, $10, $11, $11, $12)

-- name: approve_order
with decided as (
    insert into decisions (
        signal_id, leg, generation, approval_id, approved, reasons, checks, quantity, limit_price,
        account_exposure_pct, limits_version, kill_epoch, decided_at, expires_at, hard_stop_loss,
        approval, approval_signature, approval_key_id
    ) values ($1, $2, $3, $4, true, '{}', $5::jsonb, $6, $7, $8, $9, $10, $11, $12, $17, $18, $19, $20)
), reserved as (
    insert into reservations (
        signal_id, leg, generation, strategy, ticker, side, quantity, price, state, created_at, lapses_at
    )
    select signal_id, leg, generation, strategy, ticker, $13, $6, $15, 'held', $11, $14
    from orders where signal_id = $1 and leg = $2 and generation = $3
)
update orders set quantity = $6, limit_price = $16, hard_stop_loss = $17, row_version = row_version + 1, updated_at = $11
where signal_id = $1 and leg = $2 and generation = $3
returning *

-- name: read_decision
select * from decisions where signal_id = $1 and leg = $2 order by generation desc limit 1

-- name: read_approval
select approval from decisions where signal_id = $1 and leg = 'entry' order by generation desc limit 1

-- name: live_reservations
select count(*) as count, coalesce(sum(quantity * price), 0) as notional
from reservations where state in ('held', 'working')
