-- name: lock_alert
-- Two numbers: the only kind of these locks that every role may take.
select pg_advisory_xact_lock($1, hashtext($2))

-- name: read_alert
select code, severity, subject, text, correlation_id, raised_at, last_raised_at, times, cleared_at,
    acknowledged_at, acknowledged_by, silenced_until, silenced_by, silence_reason
from alerts where alert_id = $1

-- name: read_raised
select code, severity, subject, text, correlation_id, raised_at, last_raised_at, times, cleared_at,
    acknowledged_at, acknowledged_by, silenced_until, silenced_by, silence_reason
from alerts where alert_id = any ($1) and cleared_at is null

-- name: read_subjects
select subject from alerts where code = $1 and cleared_at is null order by subject

-- name: raise_alert
insert into alerts (alert_id, code, severity, subject, text, correlation_id, raised_at, last_raised_at)
values ($1, $2, $3, $4, $5, $6, $7, $7)
on conflict (alert_id) do update set
    severity = excluded.severity, text = excluded.text, correlation_id = excluded.correlation_id,
    raised_at = case when alerts.cleared_at is null then alerts.raised_at else excluded.raised_at end,
    times = case when alerts.cleared_at is null then alerts.times + 1 else 1 end,
    last_raised_at = excluded.last_raised_at, cleared_at = null,
    -- Who has seen it has not seen this: another time, or worse.
    acknowledged_at = case when alerts.cleared_at is null and alerts.severity = excluded.severity
        then alerts.acknowledged_at end,
    acknowledged_by = case when alerts.cleared_at is null and alerts.severity = excluded.severity
        then alerts.acknowledged_by end

-- name: clear_alert
update alerts set cleared_at = $2 where alert_id = $1 and cleared_at is null
returning code, severity, subject, text, correlation_id, raised_at, last_raised_at, times, cleared_at

-- name: acknowledge
update alerts set acknowledged_at = $2, acknowledged_by = $3
where alert_id = $1 and cleared_at is null and acknowledged_at is null
returning alert_id

-- name: silence
update alerts set silenced_until = $2, silenced_by = $3, silence_reason = $4 where alert_id = $1 returning alert_id

-- name: cut_silence
update alerts set silenced_until = $2 where alert_id = $1 and silenced_until > $2 returning alert_id

-- name: end_silence
update alerts set silenced_until = null, silenced_by = null, silence_reason = null
where alert_id = $1 and silenced_until <= $2
returning alert_id

-- name: over_silences
select alert_id from alerts where silenced_until <= $1 order by silenced_until limit $2

-- name: list_alerts
select code, severity, subject, text, correlation_id, raised_at, last_raised_at, times, cleared_at,
    acknowledged_at, acknowledged_by, silenced_until, silenced_by, silence_reason
from alerts where $1 or cleared_at is null
order by cleared_at is not null, last_raised_at desc, alert_id
limit $2

-- name: count_open
select code, count(*) as count from alerts where cleared_at is null group by code

-- name: untold_conflicts
select * from orders
where identity_conflict is not null and not exists (
    select from alerts where alert_id = 'IDENTITY_CONFLICT:' || coalesce(orders.client_order_id, orders.signal_id)
)
order by updated_at
limit $1

-- name: unalerted_runs
select run_id from reconciliations where outcome is not null and not alerted order by finished_at limit $1

-- name: mark_alerted
update reconciliations set alerted = true where run_id = $1 and not alerted returning run_id
