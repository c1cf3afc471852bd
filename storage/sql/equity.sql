-- name: read_equity
select equity, taken_at, last_equity + transfers as session_equity, peak_equity, peak_at, last_equity
from account

-- name: move_peak
-- $1: money paid in (or out, negative) that was booked just now; $2: of it, what the broker's equity at the
-- previous close does not have in it; a reading with another such equity has that in it (save_account).
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
    transfers = transfers + $2

-- name: reset_peak
-- To what equity is now.
update account set peak_equity = equity, peak_at = taken_at, settled_peak = equity
where equity is not null
returning equity

-- name: read_breaches
select kind, first_read_at, confirmed_at, last_equity from equity_breaches

-- name: begin_breach
insert into equity_breaches (kind, first_read_at, detail, last_equity)
select $1, $2, $3, last_equity from account
on conflict (kind) do nothing

-- name: confirm_breach
update equity_breaches set confirmed_at = $2 where kind = $1 and confirmed_at is null

-- name: end_breach
delete from equity_breaches where kind = $1
