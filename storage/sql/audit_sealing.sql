-- name: try_lead
select pg_try_advisory_lock($1)

-- name: keep_alive
select 1

-- name: read_head
select size, root, frontier, checkpoint_size from audit_head

-- name: lock_head
select from audit_head for update

-- name: read_waiting
-- The queue holds each row's time too, so that only its partition is looked into.
select u.id, l.id is not null as is_there, u.occurred_at, l.correlation_id, l.component, l.actor, l.input_hash,
    l.decision, l.checks, l.refs, l.previous_size, l.previous_root
from audit_unsealed u
left join audit_log l on l.id = u.id and l.occurred_at = u.occurred_at
order by u.id
limit $1

-- name: insert_leaves
insert into audit_leaves (sequence, audit_id, occurred_at, leaf)
select $1 + place - 1, audit_id, occurred_at, leaf
from unnest($2::bigint[], $3::timestamptz[], $4::bytea[]) with ordinality as sealed (audit_id, occurred_at, leaf, place)

-- name: forget_waiting
delete from audit_unsealed where id = any ($1::bigint[])

-- name: grow_head
update audit_head set size = $1, root = $2, frontier = $3

-- name: newest_checkpoint
-- $1: only what is published.
select size, root, frontier, note, published_at from audit_checkpoints
where not $1 or published_at is not null
order by size desc
limit 1

-- name: checkpoint_before
select size, root, frontier, note, published_at from audit_checkpoints
where size < $1
order by size desc
limit 1

-- name: checkpoints_after
select size, root, frontier, note, published_at from audit_checkpoints where size > $1 order by size

-- name: unpublished_checkpoints
select size, root, frontier, note, published_at from audit_checkpoints
where published_at is null
order by size

-- name: insert_checkpoint
insert into audit_checkpoints (size, root, frontier, note, signed_at) values ($1, $2, $3, $4, $5)

-- name: read_leaves
select leaf from audit_leaves where sequence >= $1 and sequence < $2 order by sequence

-- name: mark_published
update audit_checkpoints set published_at = $2 where size = $1 and published_at is null

-- name: name_checkpoint
-- What rows name from now on.
update audit_head set checkpoint_size = $1, checkpoint_root = $2 where checkpoint_size is null or checkpoint_size < $1

-- name: waiting_ids
select min(id) as oldest, max(id) as newest from audit_unsealed

-- name: read_state
select h.size, c.size as checkpoint_size, c.published_at
from audit_head h
left join audit_checkpoints c on c.size = h.checkpoint_size

-- name: make_partitions
select make_audit_partitions($1, $2)
