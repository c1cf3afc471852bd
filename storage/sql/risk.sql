-- name: lock_account
select singleton from account for update

-- name: lapse_reservations
update reservations set state = 'lapsed', ended_at = $1 where state = 'held' and lapses_at <= $1

-- name: read_facts
select
    a.equity, a.buying_power, a.taken_at,
    k.engaged, k.epoch, k.reason as kill_reason,
    l.version as limits_version, l.document as limits,
    q.bid, q.ask, q.bid_size, q.ask_size, q.quoted_at, q.received_at,
    c.read_at, c.broker_at, c.speed
from account a
cross join kill_switch k
left join lateral (select version, document from limits order by version desc limit 1) l on true
left join latest_quotes q on q.ticker = $1 and q.provider = 'primary'
left join market_clock c on true

-- name: read_exposures
with held as (
    select ticker, strategy, quantity, cash from positions where quantity <> 0
), reserved as (
    select ticker, strategy,
        coalesce(sum(quantity) filter (where side = 'buy'), 0) as buy,
        coalesce(sum(quantity) filter (where side = 'sell'), 0) as sell,
        coalesce(sum(quantity * price) filter (where side = 'buy'), 0) as buy_notional,
        coalesce(sum(quantity * price) filter (where side = 'sell'), 0) as sell_notional
    from reservations
    where state in ('held', 'working')
    group by ticker, strategy
)
select ticker, strategy,
    coalesce(h.quantity, 0) as held,
    coalesce(r.buy, 0) as reserved_buy, coalesce(r.sell, 0) as reserved_sell,
    coalesce(r.buy_notional, 0) as reserved_buy_notional,
    coalesce(r.sell_notional, 0) as reserved_sell_notional,
    coalesce((q.bid + q.ask) / 2, q.ask, q.bid, abs(h.cash / nullif(h.quantity, 0)), 0) as mark
from held h
full join reserved r using (ticker, strategy)
left join (select * from latest_quotes where provider = 'primary') q using (ticker)
order by ticker, strategy

-- name: spent_since_snapshot
select
    coalesce((
        select sum(r.quantity * r.price)
        from reservations r join orders o using (signal_id, leg, generation)
        where r.state in ('held', 'working') and r.side = 'buy'
            and (o.acknowledged_at is null or o.acknowledged_at >= $1)
    ), 0)
    + coalesce((
        select sum(e.quantity * e.price)
        from executions e join orders o using (internal_order_id)
        where e.side = 'buy' and not e.busted and e.recorded_at >= $1
            and (o.acknowledged_at is null or o.acknowledged_at >= $1)
    ), 0)

-- name: unknown_outcomes
select client_order_id from orders
where ticker = $1 and settled_at is null and 'outcome_unknown' = any (flags)
order by client_order_id

-- name: insert_decision
insert into decisions (
    signal_id, leg, generation, approval_id, approved, reasons, checks, quantity, limit_price,
    account_exposure_pct, limits_version, kill_epoch, decided_at, expires_at, user_message
) values ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, $10, $11, $12, $13, $14, $15)

-- name: read_decision
select * from decisions where signal_id = $1 and leg = $2 order by generation desc limit 1

-- name: approve_order
update orders set quantity = $2, limit_price = $3, row_version = row_version + 1, updated_at = $4
where internal_order_id = $1

-- name: insert_reservation
insert into reservations (
    signal_id, leg, generation, strategy, ticker, side, quantity, price, state, created_at, lapses_at
) values ($1, $2, $3, $4, $5, $6, $7, $8, 'held', $9, $10)

-- name: start_working
update reservations set state = 'working'
where signal_id = $1 and leg = $2 and generation = $3 and state in ('held', 'working')
returning quantity

-- name: live_reservations
select count(*) as count, coalesce(sum(quantity * price), 0) as notional
from reservations where state in ('held', 'working')

-- name: current_limits
select version, document, author, reason, created_at from limits order by version desc limit 1

-- name: insert_limits
insert into limits (document, author, reason, created_at) values ($1::jsonb, $2, $3, $4) returning version
