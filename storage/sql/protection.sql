-- name: ensure_protection
insert into protections (signal_id, strategy, ticker, action, stop_price, created_at, updated_at)
select signal_id, strategy, ticker, case action when 'BUY_TO_OPEN' then 'SELL_TO_CLOSE' else 'BUY_TO_CLOSE' end,
    hard_stop_loss, $2, $2
from orders
where internal_order_id = $1 and leg = 'entry' and hard_stop_loss is not null and filled_quantity > 0
    and action in ('BUY_TO_OPEN', 'SELL_TO_OPEN')
on conflict (signal_id) do update set closed_at = null, updated_at = excluded.updated_at
where protections.closed_at is not null
returning signal_id

-- name: lock_protection
select p.signal_id, p.ticker, p.action from protections p
join protections own on own.signal_id = $1 and (own.ticker, own.action) = (p.ticker, p.action)
where p.closed_at is null or p.signal_id = $1
order by p.created_at, p.signal_id
for update of p

-- name: lock_legs
select signal_id from orders where signal_id = $1 order by leg, generation for update

-- name: read_protection
select p.*, e.filled_quantity as filled,
    coalesce((
        select sum(l.filled_quantity) from orders l where l.signal_id = p.signal_id and l.leg <> 'entry'
    ), 0) as exited,
    k.engaged as kill_engaged, k.scope as kill_scope
from protections p
join orders e on e.signal_id = p.signal_id and e.leg = 'entry'
cross join kill_switch k
where p.signal_id = $1

-- name: read_lots
-- An order keeps the quantity that risk approved, whatever it was made at the broker since: legs are for no more.
select p.signal_id, p.strategy, l.quantity,
    least(l.quantity, greatest(0, e.filled_quantity - p.given_up - e.quantity)) as beyond
from protections p
join orders e on e.signal_id = p.signal_id and e.leg = 'entry'
cross join lateral (
    select greatest(0, e.filled_quantity - p.given_up - coalesce(sum(o.filled_quantity), 0)) as quantity
    from orders o where o.signal_id = p.signal_id and o.leg <> 'entry'
) l
where p.ticker = $1 and p.action = $2 and p.closed_at is null
order by p.created_at, p.signal_id

-- name: read_backing
-- Lots and what backs them in one snapshot: a fill between two would look like shares that are gone.
select p.signal_id, p.strategy, l.quantity,
    least(l.quantity, greatest(0, e.filled_quantity - p.given_up - e.quantity)) as beyond,
    array(select h.strategy from positions h where h.ticker = $1 order by h.strategy) as holders,
    array(
        select case when $2 = 'SELL_TO_CLOSE' then h.quantity else -h.quantity end
        from positions h where h.ticker = $1 order by h.strategy
    ) as held,
    -- What the broker calls executed here may be in the books already, as a journal entry that its fill reverses.
    exists (
        select from orders c
        where c.ticker = $1 and c.action = $2 and c.settled_at is null and c.broker_filled_quantity > c.filled_quantity
    ) as fills_missing
from protections p
join orders e on e.signal_id = p.signal_id and e.leg = 'entry'
cross join lateral (
    select greatest(0, e.filled_quantity - p.given_up - coalesce(sum(o.filled_quantity), 0)) as quantity
    from orders o where o.signal_id = p.signal_id and o.leg <> 'entry'
) l
where p.ticker = $1 and p.action = $2 and p.closed_at is null
order by p.created_at, p.signal_id

-- name: read_holdings
with held as (
    select strategy, case when $2 = 'SELL_TO_CLOSE' then quantity else -quantity end as quantity
    from positions where ticker = $1
), closing as (
    select r.strategy, sum(r.quantity) as quantity, min(o.created_at) filter (where r.quantity > 0) as since
    from reservations r join orders o using (signal_id, leg, generation)
    where r.ticker = $1 and r.state in ('held', 'working') and o.action = $2
    group by r.strategy
)
select strategy, coalesce(h.quantity, 0) as held, coalesce(c.quantity, 0) as closing, c.since as closing_since
from held h full join closing c using (strategy)
order by strategy

-- name: read_legs
select o.* from orders o
where o.signal_id = $1 and o.leg <> 'entry' and (
    o.settled_at is null
    or o.generation = (select max(n.generation) from orders n where n.signal_id = o.signal_id and n.leg = o.leg)
)
order by o.leg, o.generation

-- name: all_legs
select * from orders where signal_id = $1 and leg <> 'entry' order by created_at, generation

-- name: read_in_the_way
select * from orders
where ticker = $1 and leg = 'entry' and settled_at is null
    and action = case when $2 = 'SELL_TO_CLOSE' then 'BUY_TO_OPEN' else 'SELL_TO_OPEN' end
    and status not in ('CREATED', 'FILLED', 'CANCELED', 'REJECTED', 'FATAL_ERROR')
order by created_at, signal_id

-- name: insert_leg
insert into orders (
    internal_order_id, signal_id, leg, generation, strategy, ticker, action, order_type, time_in_force,
    extended_hours, quantity, limit_price, stop_price, status, created_at, updated_at
)
select $2, p.signal_id, $3, $4, p.strategy, p.ticker, p.action, $5, $6, false, $7, $8, $9, 'CREATED', $10, $10
from protections p where p.signal_id = $1
on conflict (signal_id, leg, generation) do nothing
returning *

-- name: fit_leg
update orders set quantity = $2, limit_price = $3, row_version = row_version + 1, updated_at = $4
where internal_order_id = $1 and post_count = 0 and status = 'CREATED'
returning *

-- name: save_cover
update protections set
    exiting = exiting or $2, obstacle = $3, obstacle_detail = $4, refusals = $5, retry_at = $6,
    uncovered_since = $7, closed_at = $8, updated_at = $9
where signal_id = $1

-- name: save_obstacle
update protections set
    obstacle = $2, obstacle_detail = $3, refusals = refusals + 1, retry_at = $4, updated_at = $5
where signal_id = $1

-- name: give_up
update protections set
    given_up = greatest(0, given_up + $2), updated_at = $3,
    closed_at = case when $2::numeric < 0 then null else closed_at end
where signal_id = $1

-- name: lock_lots
select signal_id from protections
where ticker = $1 and action = $2 and closed_at is null
order by created_at, signal_id
for update

-- name: lock_given
select signal_id, given_up from protections
where ticker = $1 and strategy = $2 and action = $3 and given_up > 0
order by created_at desc, signal_id desc
for update

-- name: reopen
update protections set closed_at = null, updated_at = $2 where signal_id = $1 and closed_at is not null
returning signal_id

-- name: open_on_ticker
select signal_id from protections where ticker = $1 and action = $2 and closed_at is null
order by created_at, signal_id

-- name: open_protections
select p.signal_id from protections p
where p.created_at < $1 and p.signal_id > $2 and (
    p.closed_at is null
    or exists (
        select from orders o where o.signal_id = p.signal_id and o.leg <> 'entry' and o.settled_at is null
    )
)
order by p.signal_id
limit $3

-- name: read_leg_basis
select s.action, s.ticker, s.strategy, p.action as closes_by, d.hard_stop_loss, e.filled_quantity as filled, p.given_up,
    coalesce((
        select sum(l.filled_quantity) from orders l where l.signal_id = s.signal_id and l.leg <> 'entry'
    ), 0) as exited,
    coalesce((
        select sum(
            case when l.status in ('FILLED', 'CANCELED', 'REJECTED', 'FATAL_ERROR')
                -- Executed, though by which executions has not been told.
                then case when l.settled_at is null then greatest(0, l.broker_filled_quantity - l.filled_quantity) else 0 end
                else coalesce(l.broker_quantity, l.quantity) - l.filled_quantity
            end
        )
        from orders l
        where l.signal_id = s.signal_id and l.leg <> 'entry' and l.internal_order_id <> $2
            and (l.broker_order_id is not null or l.post_count > l.absent_proved_posts)
    ), 0) as standing,
    (l.document->>'price_collar_pct')::numeric as collar_pct,
    k.engaged as kill_engaged, k.scope as kill_scope
from signals s
join orders e on e.signal_id = s.signal_id and e.leg = 'entry'
join protections p on p.signal_id = s.signal_id
join decisions d on d.signal_id = s.signal_id and d.leg = 'entry' and d.approved
cross join kill_switch k
left join lateral (
    -- What lasts, whether a raise is in force or not: see storage.limits.lasting_limits.
    select document from limits where scope = 'account' and expires_at is null order by version desc limit 1
) l on true
where s.signal_id = $1

-- name: shares_lent
with legs as (
    select l.status in ('FILLED', 'CANCELED', 'REJECTED', 'FATAL_ERROR') as has_ended, l.settled_at,
        coalesce(l.broker_quantity, l.quantity) - l.filled_quantity as remaining,
        greatest(0, l.broker_filled_quantity - l.filled_quantity) as untold
    from orders l
    where l.ticker = $1 and l.leg <> 'entry' and l.action = $2
        and (l.broker_order_id is not null or l.post_count > l.absent_proved_posts)
)
select
    -- Below zero on the other side: that is nothing to close.
    coalesce((
        select sum(case when $2 = 'SELL_TO_CLOSE' then quantity else -quantity end)
        from positions where ticker = $1
    ), 0) as held,
    coalesce((select sum(remaining) from legs where not has_ended), 0) as legs,
    coalesce((select sum(untold) from legs where has_ended and settled_at is null), 0) as untold,
    coalesce((
        select sum(r.quantity)
        from reservations r join orders o using (signal_id, leg, generation)
        where r.ticker = $1 and r.state = 'working' and o.action = $2 and r.signal_id <> $3
    ), 0) as closing
