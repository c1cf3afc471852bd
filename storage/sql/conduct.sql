-- name: read_conduct
-- $2: the last minute began, $3: the window of repeated executions, $4: of duplicates.
-- No window ends at the decision's instant: another that was decided by a clock ahead of it counts too.
with asked as (
    select s.signal_id, s.strategy, s.ticker, s.action, s.order_type, s.time_in_force, s.quantity,
        s.limit_price, s.stop_price, s.hard_stop_loss, s.extended_hours, enabled.at as enabled_at, side.actions
    from signals s
    cross join lateral (
        select max(t.enabled_at) as at from strategy_stops t where t.strategy = s.strategy
    ) enabled
    cross join lateral (
        select case when s.action in ('BUY_TO_OPEN', 'BUY_TO_CLOSE') then array['BUY_TO_OPEN', 'BUY_TO_CLOSE']
            else array['SELL_TO_OPEN', 'SELL_TO_CLOSE'] end as actions
    ) side
    where s.signal_id = $1
), minute as (
    select count(*) filter (where d.approved) as approvals,
        count(*) filter (where d.approved and o.strategy = a.strategy) as strategy_approvals,
        count(*) filter (where 'ORDER_RATE' = any (d.reasons) and d.kill_epoch = k.epoch) as rate_refusals,
        count(*) filter (
            where 'STRATEGY_ORDER_RATE' = any (d.reasons) and o.strategy = a.strategy
                and (a.enabled_at is null or d.decided_at > a.enabled_at)
        ) as strategy_rate_refusals
    from decisions d
    join orders o using (signal_id, leg, generation)
    cross join asked a
    cross join kill_switch k
    where d.decided_at > $2
)
select m.approvals, m.strategy_approvals, m.rate_refusals, m.strategy_rate_refusals,
    (
        -- An order that has ended can execute no more. An entry may once it is approved, a leg from its beginning.
        select count(*) from orders o
        where o.settled_at is null and o.status not in ('FILLED', 'CANCELED', 'REJECTED', 'FATAL_ERROR')
            and (
                o.leg <> 'entry' or o.client_order_id is not null
                or exists (
                    select from reservations r
                    where (r.signal_id, r.leg, r.generation) = (o.signal_id, o.leg, o.generation)
                        and r.state in ('held', 'working')
                )
            )
    ) as open_orders,
    (
        -- Approved in the window and executed since, or executed in it.
        select count(*) from (
            select o.internal_order_id
            from decisions d join orders o using (signal_id, leg, generation)
            where d.approved and d.decided_at > $3 and (a.enabled_at is null or d.decided_at > a.enabled_at)
                and o.filled_quantity > 0
                and o.strategy = a.strategy and o.ticker = a.ticker and o.action = any (a.actions)
            union
            select o.internal_order_id
            from executions e join orders o using (internal_order_id)
            where e.recorded_at > $3 and (a.enabled_at is null or e.recorded_at > a.enabled_at)
                and not e.busted and o.leg = 'entry'
                and o.strategy = a.strategy and o.ticker = a.ticker and o.action = any (a.actions)
        ) executed
    ) as executed,
    (
        -- The content of a signal is what risk may read of it: no id, no time, no free text.
        select s.signal_id
        from decisions d
        join orders o using (signal_id, leg, generation)
        join signals s using (signal_id)
        where d.approved and d.decided_at > $4 and d.leg = 'entry' and s.signal_id <> a.signal_id
            and o.status <> 'REJECTED'
            and (s.strategy, s.ticker, s.action, s.order_type, s.time_in_force, s.quantity, s.extended_hours)
                = (a.strategy, a.ticker, a.action, a.order_type, a.time_in_force, a.quantity, a.extended_hours)
            and (s.limit_price, s.stop_price, s.hard_stop_loss)
                is not distinct from (a.limit_price, a.stop_price, a.hard_stop_loss)
        order by d.decided_at desc
        limit 1
    ) as duplicate_of,
    case when h.is_open then coalesce(h.cause, 'no cause was noted') end as broker_halt,
    c.last_equity + c.transfers as session_equity,
    c.peak_equity,
    t.strategy, t.since, t.cause, t.reason, t.stopped_by
from asked a
cross join minute m
cross join broker_halt h
cross join account c
left join strategy_stops t on t.strategy = a.strategy and t.enabled_at is null

-- name: stop_strategy
insert into strategy_stops (strategy, since, cause, reason, stopped_by, evidence)
values ($1, $2, $3, $4, $5, $6::jsonb)
on conflict (strategy) where enabled_at is null do nothing
returning id

-- name: enable_strategy
update strategy_stops set enabled_at = $2, enabled_by = $3, enable_reason = $4
where strategy = $1 and enabled_at is null
returning since

-- name: list_stops
-- $1: those that are over too.
select strategy, since, cause, reason, stopped_by, enabled_at, enabled_by, enable_reason
from strategy_stops
where $1 or enabled_at is null
order by enabled_at is not null, since desc, id desc
limit $2

-- name: ask_for_kill
insert into kill_requests (request_id, reason, triggered_by, requested_at, evidence)
values ($1, $2, $3, $4, $5::jsonb)
on conflict (request_id) do nothing
returning request_id

-- name: kills_asked_for
select request_id, reason, triggered_by from kill_requests
where done_at is null
order by requested_at, request_id

-- name: take_kill_request
update kill_requests set done_at = $2 where request_id = $1 and done_at is null
returning request_id
