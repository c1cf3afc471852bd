-- name: read_equity
-- $1: the market's day, whose transfers are not in the broker's equity at the previous close.
select equity, taken_at,
    last_equity + case when transfers_day = $1 then transfers else 0 end as session_equity,
    peak_equity, peak_at
from account

-- name: move_peak
-- $1: money paid in (or out, negative) that was booked just now; $2: of it, what came on the market's day $3.
-- A reading since the last time may have had the money in it or not. What was paid in is added to the peak before
-- that; what was paid out is taken from it. So a transfer alone is never a loss, and the peak is low by no more than
-- equity rose since then.
update account set
    peak_equity = case
        when $1::numeric = 0 then peak_equity
        when $1 > 0 then greatest(coalesce(settled_peak, peak_equity) + $1, peak_equity)
        else coalesce(settled_peak, peak_equity) + $1
    end,
    settled_peak = case
        when $1 = 0 then peak_equity
        when $1 > 0 then greatest(coalesce(settled_peak, peak_equity) + $1, peak_equity)
        else coalesce(settled_peak, peak_equity) + $1
    end,
    transfers = case when transfers_day = $3 then transfers else 0 end + $2,
    transfers_day = $3

-- name: reset_peak
-- To what equity is now.
update account set peak_equity = equity, peak_at = taken_at, settled_peak = equity
where equity is not null
returning equity

-- name: read_breaches
select kind, first_read_at, confirmed_at from equity_breaches

-- name: begin_breach
insert into equity_breaches (kind, first_read_at, detail) values ($1, $2, $3)
on conflict (kind) do nothing

-- name: confirm_breach
update equity_breaches set confirmed_at = $2 where kind = $1 and confirmed_at is null

-- name: end_breach
delete from equity_breaches where kind = $1
