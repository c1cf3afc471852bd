-- name: lock_check
-- Before it is changed, so that its halt is opened and closed once.
select halted_since is not null as halted from clock_checks where holder = $1 for update

-- name: note_check
insert into clock_checks (holder, verdict, offset_us, source, detail, in_sync_times)
values ($1, $2, $3, $4, $5, ($2 = 'IN_SYNC')::integer)
on conflict (holder) do update
set verdict = excluded.verdict, offset_us = excluded.offset_us, source = excluded.source, detail = excluded.detail,
    in_sync_times = case when excluded.verdict = 'IN_SYNC' then clock_checks.in_sync_times + 1 else 0 end,
    checked_at = clock_timestamp()
returning in_sync_times

-- name: open_halt
update clock_checks set halted_since = coalesce(halted_since, clock_timestamp()), halt_cause = $2 where holder = $1

-- name: close_halt
update clock_checks set halted_since = null, halt_cause = null where holder = $1

-- name: read_checks
select holder, verdict, offset_us, source, detail, halted_since, halt_cause, clock_timestamp() - checked_at as age
from clock_checks where checked_at > clock_timestamp() - $1::interval
order by holder
