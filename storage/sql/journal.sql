-- name: lock_books
lock table positions in share row exclusive mode

-- name: read_held
select ticker, strategy, quantity from positions where quantity <> 0 order by ticker, strategy

-- name: read_cash
select coalesce(sum(cash), 0) from positions

-- name: read_marks
select p.ticker,
    coalesce((q.bid + q.ask) / 2, q.ask, q.bid, abs(p.cash / p.quantity), 0) as mark
from (
    select ticker, sum(cash) as cash, sum(quantity) as quantity from positions
    where quantity <> 0 group by ticker having sum(quantity) <> 0
) p
left join latest_quotes q on q.ticker = p.ticker and q.provider = 'primary'

-- name: rebuild_books
select ticker, strategy, sum(quantity) as quantity, sum(cash) as cash
from (
    select ticker, strategy,
        case side when 'buy' then quantity else -quantity end as quantity,
        case side when 'buy' then -quantity * price else quantity * price end as cash
    from executions
    where not busted
    union all
    select ticker, strategy, quantity, cash from journal
) moved
group by ticker, strategy
having sum(quantity) <> 0 or sum(cash) <> 0
order by ticker, strategy

-- name: books_differ
-- One statement, so that both sides are of one moment.
with sums as (
    select ticker, strategy, sum(quantity) as quantity, sum(cash) as cash
    from (
        select ticker, strategy,
            case side when 'buy' then quantity else -quantity end as quantity,
            case side when 'buy' then -quantity * price else quantity * price end as cash
        from executions
        where not busted
        union all
        select ticker, strategy, quantity, cash from journal
    ) moved
    group by ticker, strategy
)
select exists (
    select from sums s full join positions p using (ticker, strategy)
    where coalesce(s.quantity, 0) <> coalesce(p.quantity, 0) or coalesce(s.cash, 0) <> coalesce(p.cash, 0)
)

-- name: read_materialised
select ticker, strategy, quantity, cash from positions
where quantity <> 0 or cash <> 0
order by ticker, strategy

-- name: clear_positions
delete from positions

-- name: insert_entry
insert into journal (
    run_id, cause, ticker, strategy, quantity, cash, price, before, after, activity_id, reverses, snapshot_at,
    detail, recorded_at
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
on conflict (activity_id, strategy) do nothing
returning entry_id

-- name: add_to_position
insert into positions (ticker, strategy, quantity, cash, updated_at) values ($1, $2, $3, $4, $5)
on conflict (ticker, strategy) do update set
    quantity = positions.quantity + excluded.quantity,
    cash = positions.cash + excluded.cash,
    updated_at = excluded.updated_at

-- name: reversible
select j.entry_id, j.strategy, j.price, j.snapshot_at,
    j.quantity + coalesce((select sum(r.quantity) from journal r where r.reverses = j.entry_id), 0) as remaining
from journal j
where j.ticker = $1 and j.snapshot_at >= $2 and j.cause in ('OPENING', 'RESIDUAL') and j.quantity <> 0
order by j.entry_id desc

-- name: account_shares
select coalesce(sum(quantity), 0) from positions where ticker = $1

-- name: known_activities
select activity_id from journal where activity_id = any ($1::text[])

-- name: known_fills
select activity_id, broker_order_id, ticker, side, quantity, price, cumulative_quantity, executed_at, busted
from executions where executed_at > $1

-- name: list_journal
select entry_id, run_id, cause, ticker, strategy, quantity, cash, price, before, after, activity_id, reverses,
    snapshot_at, detail, recorded_at
from journal where run_id = $1 order by entry_id
