-- name: reservations
select count(*) as open, coalesce(sum(quantity * price), 0) as dollars
from reservations
where state in ('held', 'working')

-- name: held
-- What each position is worth at its last quote, or at what it has cost where there is none.
select p.ticker, p.strategy,
    p.quantity * coalesce((q.bid + q.ask) / 2, q.ask, q.bid, abs(p.cash / p.quantity)) as dollars
from positions p
left join latest_quotes q on q.ticker = p.ticker and q.provider = 'primary'
where p.quantity <> 0

-- name: equity
select equity from account

-- name: funds_refused_since
select exists (select from funds_refusals where refused_at > $1)

-- name: funds_streak
-- Read only while a strategy was refused lately: no index serves it.
select count(*) from orders
where reason = 'ERR_INSUFFICIENT_FUNDS' and status = 'REJECTED' and final_at > $1
    and final_at > coalesce((select max(acknowledged_at) from orders), '-infinity')

-- name: last_scheduled
select max(started_at) from reconciliations where trigger = $1 and started_at > $2

-- name: last_drift
-- Of the last good reconciliation, in % of the equity it was judged by.
select case when equity > 0 then round(100 * drift / equity, 3) else 0 end
from reconciliations
where outcome in ('CLEAN', 'OPENED', 'DRIFT')
order by read_at desc
limit 1
