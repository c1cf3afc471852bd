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
select ticker, strategy, quantity, cash from books
where quantity <> 0 or cash <> 0
order by ticker, strategy

-- name: books_differ
-- One statement, so that both sides are of one moment.
select exists (
    select from books b full join positions p using (ticker, strategy)
    where coalesce(b.quantity, 0) <> coalesce(p.quantity, 0) or coalesce(b.cash, 0) <> coalesce(p.cash, 0)
)

-- name: read_differences
-- One statement, so that both sides are of one moment.
select ticker, strategy, coalesce(b.quantity, 0) as quantity, coalesce(b.cash, 0) as cash,
    coalesce(p.quantity, 0) as kept_quantity, coalesce(p.cash, 0) as kept_cash
from books b full join positions p using (ticker, strategy)
where coalesce(b.quantity, 0) <> coalesce(p.quantity, 0) or coalesce(b.cash, 0) <> coalesce(p.cash, 0)
order by ticker, strategy

-- name: read_day
-- What was taken over at the first start was there as the day began, whenever on that day we came.
select ticker, strategy,
    coalesce(sum(quantity) filter (where carried), 0) as carried,
    sum(quantity) as quantity,
    coalesce(sum(cash) filter (where not carried), 0) as cash,
    coalesce(sum(cash) filter (where not carried and activity_type = any ($2::text[])), 0) as transferred,
    coalesce(sum(cash) filter (where not carried and cause in ('RESIDUAL', 'REVERSAL')), 0) as unexplained
from (select *, moved_at < $1 or cause = 'OPENING' as carried from book_moves) moved
group by ticker, strategy
order by ticker, strategy

-- name: save_trading_day
insert into trading_days (day, began_at) values ($1, $2)
on conflict (day) do nothing

-- name: read_trading_day
select day, began_at from trading_days where began_at <= $1 order by began_at desc limit 1

-- name: save_day_marks
insert into day_marks (day, ticker, price) select $1, unnest($2::text[]), unnest($3::numeric[])
on conflict (day, ticker) do update set price = excluded.price where day_marks.price <> excluded.price

-- name: read_day_marks
select ticker, price from day_marks where day = $1

-- name: read_materialised
select ticker, strategy, quantity, cash from positions
where quantity <> 0 or cash <> 0
order by ticker, strategy

-- name: clear_positions
delete from positions

-- name: insert_entry
insert into journal (
    run_id, cause, ticker, strategy, quantity, cash, price, before, after, activity_id, activity_type, reverses,
    snapshot_at, detail, recorded_at
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
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

-- name: read_unexplained
-- Shares that an overwrite booked at a price have their cash in the same sum.
select coalesce(sum(j.cash), 0) from journal j left join journal undone on undone.entry_id = j.reverses
where coalesce(undone.cause, j.cause) = 'RESIDUAL' and j.snapshot_at > $1

-- name: read_opened_at
select min(snapshot_at) from journal where cause = 'OPENING'

-- name: reversible_cash
select entry_id, snapshot_at from journal
where cause = $1 and ($1 = 'OPENING' or snapshot_at > $2)
order by ticker = '$CASH' desc, entry_id desc
limit 1

-- name: account_shares
select coalesce(sum(quantity), 0) from positions where ticker = $1

-- name: known_activities
select activity_id from journal where activity_id = any ($1::text[])

-- name: known_fills
select execution_id, activity_id, broker_order_id, ticker, side, quantity, price, cumulative_quantity, executed_at,
    busted
from executions where executed_at > $1

-- name: list_journal
select entry_id, run_id, cause, ticker, strategy, quantity, cash, price, before, after, activity_id,
    activity_type, reverses, snapshot_at, detail, recorded_at
from journal where run_id = $1 order by entry_id
