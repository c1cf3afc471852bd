-- name: append_records
-- Writers of one key come one after the other, from before the first sequence is taken until their commit. The
-- locks guard only that order: nothing that they protect is read here. The kill switch's key has none: its writers
-- hold the switch's row, and no role that may not engage must be able to keep others from it.
with locked as (
    select count(pg_advisory_xact_lock($15, hashtext(key)))
    from (select distinct key from unnest($3::text[]) as key where key <> 'kill-switch' order by key) as keys
),
queued as (
    insert into events (event_id, topic, key, payload, occurred_at)
    select told.event_id, told.topic, told.key, told.payload, told.occurred_at
    from locked, unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::timestamptz[])
        with ordinality as told (event_id, topic, key, payload, occurred_at, place)
    where locked.count >= 0
    order by told.place
    on conflict (event_id) do nothing
),
written as (
    insert into audit_log (occurred_at, correlation_id, component, actor, input_hash, decision, checks, refs,
        previous_size, previous_root)
    -- Paper or live stands last among the references, and is hashed with them.
    select $6, $7, $8, $9, $10, $11, $12,
        case $13 when '[]' then '[' else left($13, -1) || ',' end
            || '"mode ' || coalesce((select mode from installation), 'unbound') || '"]',
        checkpoint_size, encode(checkpoint_root, 'hex')
    -- A row is written whatever has become of the head.
    from (select) one left join audit_head on true
    returning id
)
insert into audit_payloads (audit_id, payload) select id, $14 from written

-- name: timeline
select occurred_at, component, actor, decision, checks, payload
from audit_log
left join audit_payloads on audit_id = id
where correlation_id = $1
order by id
limit $2

-- name: times_told
select count(*) from audit_log where correlation_id = $1 and decision = $2 and actor = $3

-- name: try_lead
select pg_try_advisory_lock($1)

-- name: count_waiting
select count(*) from (select from events where position is null limit $1) waiting

-- name: lock_relay
select position from event_relay for update

-- name: number_events
with numbered as (
    update events e set position = waiting.position
    from (
        select event_id, (select position from event_relay) + row_number() over (order by sequence) as position
        from events
        where position is null
        order by sequence
        limit $1
    ) waiting
    where e.event_id = waiting.event_id
    returning e.position, e.topic
),
counted as (
    select count(*) as count, max(position) as newest from numbered
),
kept as (
    update event_relay set position = counted.newest from counted where counted.count > 0
)
select topic, count(*) as count from numbered group by topic

-- name: set_asleep
update event_relay set asleep = $1 where asleep <> $1

-- name: notify
select pg_notify($1, '')

-- name: newest_position
select position from event_relay

-- name: oldest_position
select min(position) from events

-- name: position_before_time
select min(position) - 1 from events where occurred_at >= $1

-- name: archived_after
-- The file in cold storage with the first event after a position, and the last position that is there.
select a.name, (select max(stop) - 1 from audit_archives where kind = 'events' and state = 'removed') as last
from audit_archives a
where a.kind = 'events' and a.state = 'removed' and a.stop > $1 + 1
order by a.first
limit 1

-- name: archived_since
-- The same by time: the first file that holds an event of it or later.
select a.name, (select max(stop) - 1 from audit_archives where kind = 'events' and state = 'removed') as last
from audit_archives a
where a.kind = 'events' and a.state = 'removed' and a.newest_at >= $1
order by a.first
limit 1

-- name: events_after
select e.position, e.event_id, e.topic, e.key, e.occurred_at, e.payload, s.strategy, s.token_id
from events e
left join signals s on s.signal_id = e.payload ->> 'signal_id'
where e.position > $1 and ($2::text[] is null or e.topic = any ($2))
order by e.position
limit $3

-- name: position_before_newest
select min(position) - 1 from (
    select position from events
    where position is not null and ($1::text[] is null or topic = any ($1))
    order by position desc
    limit $2
) newest
