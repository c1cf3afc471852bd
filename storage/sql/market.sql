-- name: save_quote
insert into latest_quotes (ticker, provider, bid, ask, bid_size, ask_size, quoted_at, received_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (ticker, provider) do update set
    bid = excluded.bid, ask = excluded.ask, bid_size = excluded.bid_size, ask_size = excluded.ask_size,
    quoted_at = excluded.quoted_at, received_at = excluded.received_at
where latest_quotes.quoted_at <= excluded.quoted_at

-- name: read_quote
select ticker, provider, bid, ask, bid_size, ask_size, quoted_at, received_at
from latest_quotes where ticker = $1 and provider = $2

-- name: read_middles
select ticker, coalesce((nullif(bid, 0) + nullif(ask, 0)) / 2, nullif(bid, 0), nullif(ask, 0)) as middle
from latest_quotes where provider = $1 and (bid > 0 or ask > 0)

-- name: save_account
update account set
    -- What was paid in or out counts until the broker tells of another session's start, whenever that is: no calendar
    -- of ours says at what hour it does.
    transfers = case when last_equity is distinct from $2 then 0 else transfers end,
    equity = $1, last_equity = $2, cash = $3, buying_power = $4, taken_at = $5, document = $6::jsonb,
    peak_equity = greatest(peak_equity, $1), peak_at = case when peak_equity >= $1 then peak_at else $5 end
where taken_at is null or taken_at <= $5

-- name: note_equity
-- The first reading of a minute stays.
insert into equity_history (minute, equity, session_equity, peak_equity)
select date_trunc('minute', taken_at), equity, last_equity + transfers, peak_equity from account
where equity is not null and taken_at is not null
on conflict (minute) do nothing

-- name: equity_since
-- The first of each span of $2, from $1 on.
select distinct on (date_bin($2, minute, $1)) minute, equity, session_equity, peak_equity
from equity_history
where minute >= $1
order by date_bin($2, minute, $1), minute

-- name: read_account
select equity, last_equity, cash, buying_power, taken_at, document from account

-- name: save_clock
insert into market_clock (read_at, broker_at, speed, is_open, next_open, next_close)
values ($1, $2, $3, $4, $5, $6)
on conflict (singleton) do update set
    read_at = excluded.read_at, broker_at = excluded.broker_at, speed = excluded.speed,
    is_open = excluded.is_open, next_open = excluded.next_open, next_close = excluded.next_close
where market_clock.read_at <= excluded.read_at

-- name: read_clock
select read_at, broker_at, speed, is_open, next_open, next_close from market_clock

-- name: list_positions
select ticker, strategy, quantity, cash, updated_at from positions where quantity <> 0 order by ticker, strategy

-- name: entries_of_positions
-- What every position that is not flat came of, in order.
select m.ticker, m.strategy, case when m.quantity > 0 then 'buy' else 'sell' end as side,
    abs(m.quantity) as quantity, coalesce(m.price, 0) as price
from book_moves m
join positions p on p.ticker = m.ticker and p.strategy = m.strategy and p.quantity <> 0
where m.quantity <> 0
order by m.ticker, m.strategy, m.moved_at, m.id

-- name: quote_ages
-- The newest quote of each provider, over all tickers.
select provider, max(received_at) as received_at, count(*) as tickers from latest_quotes
group by provider order by provider

-- name: watched_tickers
select ticker from orders where settled_at is null
union
select ticker from positions where quantity <> 0
union
select ticker from external_orders where ended_at is null
union
select ticker from signals where received_at > $1
order by ticker
limit $2
