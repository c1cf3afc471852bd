-- Leaves, rows and payloads of a batch are read one after the other, each by its own index, and put together by the
-- reader: a join of three tables is planned anew by every size they grow to.

-- name: leaves_between
select array_agg(sequence order by sequence) as sequences, array_agg(audit_id order by sequence) as ids,
    string_agg(leaf, ''::bytea order by sequence) as leaves
from audit_leaves where sequence >= $1 and sequence < $2

-- name: times_of_leaves
select sequence, occurred_at from audit_leaves where sequence = any ($1)

-- name: rows_between
select id, occurred_at, correlation_id, component, actor, input_hash, decision, checks, refs, previous_size,
    previous_root
from audit_log where id >= $1 and id <= $2

-- name: rows_of
select id, occurred_at, correlation_id, component, actor, input_hash, decision, checks, refs, previous_size,
    previous_root
from audit_log where id = any ($1)

-- name: payloads_between
select audit_id, payload from audit_payloads where audit_id >= $1 and audit_id <= $2

-- name: payloads_of
select audit_id, payload from audit_payloads where audit_id = any ($1)

-- name: payload_hashes
select id, hash from audit_payload_hashes($1)

-- name: read_head
select size, root, checkpoint_size, (select count(*) from audit_unsealed) as waiting from audit_head

-- name: unqueued_rows
-- One statement, so that a row which is being sealed is seen either way, and never neither. The bounds are said of
-- each table: else all leaves are read for every piece.
select a.id, a.correlation_id, a.occurred_at
from audit_log a
where a.id > $1 and a.id <= $2
    and not exists (select from audit_leaves l where l.audit_id = a.id and l.audit_id > $1 and l.audit_id <= $2)
    and not exists (select from audit_unsealed u where u.id = a.id and u.id > $1 and u.id <= $2)
order by a.id
limit $3

-- name: newest_id
select max(id) from audit_log

-- name: late_rows
select u.id, u.occurred_at, a.correlation_id
from audit_unsealed u
left join audit_log a on a.id = u.id
where u.occurred_at < $1
order by u.id
limit $2

-- name: published_checkpoints
select size, sha256(convert_to(note, 'UTF8')) as note_hash from audit_checkpoints
where published_at is not null and size > $1
order by size
limit $2

-- name: sealed_id
select audit_id from audit_leaves where sequence = $1

-- name: story
-- Rows of one correlation id, or one row by its id; with the first checkpoint outside that covers each.
select a.id, a.occurred_at, a.correlation_id, a.component, a.actor, a.input_hash, a.decision, a.checks, a.refs,
    a.previous_size, a.previous_root, p.payload, l.sequence, l.leaf,
    (select min(c.size) from audit_checkpoints c where c.size > l.sequence and c.published_at is not null) as sealed_by
from audit_log a
left join audit_payloads p on p.audit_id = a.id
left join audit_leaves l on l.audit_id = a.id
where a.correlation_id = $1 or a.id = $2
order by a.id
limit $3

-- name: numbers_of_time
-- The run of numbers in which all sealed rows of [$1, $2) lie; rows of other times may lie between.
select min(sequence) as first, max(sequence) + 1 as stop from audit_leaves where occurred_at >= $1 and occurred_at < $2

-- name: cold_ranges
-- Rows whose payloads are in cold storage only; those that were brought back too, as they may go again meanwhile.
select first, stop, name, object_hash from audit_archives where kind = 'audit' and state = 'removed' order by first

-- name: dropped_months
select starts_at, ends_at from audit_drops

-- name: younger_before
-- Whether a row with a smaller id is of a later time: then the one of that id is not as old as is said.
select exists (select from audit_log where id < $1 and occurred_at >= $2)

-- name: moved_rows
select hash, told from audit_moved()
