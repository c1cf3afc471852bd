-- name: read_channels
select channel, severities from alert_channels order by channel

-- name: set_channel
insert into alert_channels (channel, severities, changed_at) values ($1, $2, $3)
on conflict (channel) do update set severities = excluded.severities, changed_at = excluded.changed_at

-- name: queue_open
-- What lasts already when a channel begins to be told.
insert into alert_deliveries (
    alert_id, channel, change, code, severity, subject, text, correlation_id, raised_at, changed_at
)
select alert_id, $1, 'raised', code, severity, subject, text, correlation_id, raised_at, last_raised_at
from alerts a
where cleared_at is null and severity = any ($2) and not exists (
    select from alert_deliveries d
    where d.alert_id = a.alert_id and d.channel = $1 and d.raised_at = a.raised_at and d.state <> 'dead'
)
order by raised_at, alert_id

-- name: bury_all
update alert_deliveries set state = 'dead', last_error = $2 where channel = $1 and state = 'due'

-- name: queue_again
-- What lasts when a silence ends: for every channel that is told of such.
insert into alert_deliveries (
    alert_id, channel, change, code, severity, subject, text, correlation_id, raised_at, changed_at
)
select a.alert_id, c.channel, 'raised', a.code, a.severity, a.subject, a.text, a.correlation_id, a.raised_at,
    a.last_raised_at
from alerts a cross join alert_channels c
where a.alert_id = $1 and a.cleared_at is null and a.severity = any (c.severities) and not exists (
    select from alert_deliveries d where d.alert_id = a.alert_id and d.channel = c.channel and d.state = 'due'
)
order by c.channel

-- name: has_due
select exists (
    select from alert_deliveries
    where state = 'due' and channel = $1 and (next_try_at is null or next_try_at <= $2)
)

-- name: claim
-- Of one alert the earlier message first: an end before its beginning would be taken for nothing.
update alert_deliveries d set tries = d.tries + 1, next_try_at = $3
from (
    select delivery_id from alert_deliveries w
    where state = 'due' and channel = $1 and (next_try_at is null or next_try_at <= $2) and not exists (
        select from alert_deliveries earlier
        where earlier.alert_id = w.alert_id and earlier.channel = w.channel and earlier.state = 'due'
            and earlier.delivery_id < w.delivery_id
    )
    order by array_position(array['critical', 'high', 'medium'], severity), delivery_id
    limit $4
    for update skip locked
) due
where d.delivery_id = due.delivery_id
returning d.*

-- name: mark_sent
update alert_deliveries set state = 'sent', sent_at = $2, response = $3, last_error = null
where delivery_id = $1 and state <> 'sent'

-- name: mark_failed
-- Not where it was claimed anew meanwhile: that one's end counts.
update alert_deliveries set
    state = case when $4::timestamptz is null then 'dead' else 'due' end,
    last_error = $3, next_try_at = $4
where delivery_id = $1 and tries = $2 and state = 'due'
returning state

-- name: resend
-- A beginning whose alert is over would open an incident at PagerDuty that nothing closes.
update alert_deliveries d set state = 'due', tries = 0, next_try_at = null
where d.delivery_id = $1 and d.state = 'dead' and (
    d.channel <> 'pagerduty' or d.change = 'cleared' or exists (
        select from alerts a
        where a.alert_id = d.alert_id and a.cleared_at is null and a.raised_at = d.raised_at
    )
)
returning d.*

-- name: read_delivery
select * from alert_deliveries where delivery_id = $1

-- name: list_deliveries
select * from alert_deliveries
where $1 or state <> 'sent'
order by array_position(array['dead', 'due', 'sent'], state), delivery_id desc
limit $2

-- name: count_unsent
-- Each by its own index: what was sent is most of the table, and this is asked every few seconds.
select 'due' as state, count(*) as count from alert_deliveries where state = 'due'
union all
select 'dead', count(*) from alert_deliveries where state = 'dead'

-- name: deliveries_of
-- Of these alerts the newest messages, each with its own.
select told.* from unnest($1::text[]) as wanted (alert_id),
    lateral (
        select * from alert_deliveries d where d.alert_id = wanted.alert_id order by d.delivery_id desc limit $2
    ) told
order by told.delivery_id desc
