-- name: unfinished
-- A move that is not over, or payloads that have been back for long enough; the oldest of its kind.
select kind, first, stop, name, state, oldest_at, newest_at, keep_until, started_at, rows_hash, object_hash,
    object_bytes, checked_at, removed_at, restored_at
from audit_archives
where kind = $1 and (state <> 'removed' or restored_at < $2)
order by first
limit 1

-- name: read
select kind, first, stop, name, state, oldest_at, newest_at, keep_until, started_at, rows_hash, object_hash,
    object_bytes, checked_at, removed_at, restored_at
from audit_archives
where kind = $1 and first = $2

-- name: list
select kind, first, stop, name, state, oldest_at, newest_at, keep_until, started_at, rows_hash, object_hash,
    object_bytes, checked_at, removed_at, restored_at
from audit_archives
where $1::text is null or kind = $1
order by newest_at desc, kind, first desc
limit $2

-- name: next_first
select next_archived($1)

-- name: plan_audit
select stop, oldest_at, newest_at from plan_audit_archive($1, $2, $3, $4, $5)

-- name: plan_events
-- A position is there for each number: what is missing is not numbered yet.
with seen as (
    select position, occurred_at,
        sum(length(payload::text)) over (order by position) as characters,
        bool_and(occurred_at < $4) over (order by position) as old
    from events
    where position >= $1 and position < $1 + $2
)
select max(position) + 1 as stop, min(occurred_at) as oldest_at, max(occurred_at) as newest_at from seen
where old and (characters <= $3 or position = $1)

-- name: held_event
select group_name, position from held_event($1, $2)

-- name: begin
insert into audit_archives (kind, first, stop, name, state, oldest_at, newest_at, keep_until, started_at)
values ($1, $2, $3, $4, 'writing', $5, $6, $7, $8)
on conflict do nothing

-- name: mark_checked
update audit_archives set
    state = case state when 'writing' then 'checked' else state end, checked_at = $3, rows_hash = $4,
    object_hash = $5, object_bytes = $6
where kind = $1 and first = $2

-- name: audit_rows
select l.sequence, l.leaf, g.id, g.occurred_at, g.correlation_id, g.component, g.actor, g.input_hash, g.decision,
    g.checks, g.refs, g.previous_size, g.previous_root, p.payload, l.audit_id = any (moved.ids) as moved
from (select rows_without_their_hash() as ids) moved, audit_leaves l
left join audit_log g on g.id = l.audit_id and g.occurred_at = l.occurred_at
left join archivable_payloads($1, $2, $3) p on p.sequence = l.sequence
where l.sequence >= $1 and l.sequence < $2
order by l.sequence

-- name: moved
-- Which of them came over from an earlier release without the text that was hashed.
select l.sequence
from (select rows_without_their_hash() as ids) moved, audit_leaves l
where l.sequence >= $1 and l.sequence < $2 and l.audit_id = any (moved.ids)

-- name: event_rows
select position, event_id, topic, key, occurred_at, payload::text as payload
from events
where position >= $1 and position < $2
order by position

-- name: remove_payloads
select remove_archived_payloads($1, $2)

-- name: remove_events
select remove_archived_events($1, $2)

-- name: restore_payloads
select restore_archived_payloads($1, $2, $3)

-- name: removed_between
-- Files with payloads of rows that occurred in [$1, $2), after the one that begins at $3.
select kind, first, stop, name, state, oldest_at, newest_at, keep_until, started_at, rows_hash, object_hash,
    object_bytes, checked_at, removed_at, restored_at
from audit_archives
where kind = 'audit' and state = 'removed' and first > $3 and newest_at >= $1 and oldest_at < $2
order by first
limit 1

-- name: waiting
-- When that occurred which should go some day: the oldest of moves that are not over and of the first $3 sealed rows, or
-- events, behind all moves; and the very first of these, before which none of them goes.
with kept as (
    (select sequence as place, occurred_at from audit_leaves
    where $1 = 'audit' and sequence >= $2 order by sequence limit $3)
    union all
    (select position, occurred_at from events
    where $1 = 'events' and position >= $2 order by position limit $3)
)
select least(min(occurred_at), (select min(oldest_at) from audit_archives where kind = $1 and state <> 'removed'))
        as oldest_at,
    (select occurred_at from kept order by place limit 1) as next_at
from kept

-- name: is_dropped
select exists (select from audit_drops d join audit_leaves l
    on l.occurred_at >= d.starts_at and l.occurred_at < d.ends_at
    where l.sequence >= $1 and l.sequence < $2)

-- name: drop_partition
select drop_audit_partition($1, $2, $3, $4, $5, $6)

-- name: list_drops
select partition, starts_at, ends_at, rows, first, last, person, reason, dropped_at from audit_drops order by starts_at
