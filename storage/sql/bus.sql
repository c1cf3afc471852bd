-- name: create_group
insert into event_groups (group_name, created_at) values ($1, $2) on conflict (group_name) do nothing

-- name: create_cursors
insert into event_cursors (group_name, partition, position, taken)
select $1, partition, $2, $2 from generate_series(0, 15) partition
on conflict do nothing

-- name: group_exists
select exists (select from event_groups where group_name = $1)

-- name: claim
-- A partition with something to deliver that nobody holds, the one longest not served; one that is just being claimed
-- is passed over.
update event_cursors c set
    holder = $2,
    -- On from those that the last life of the Redis streams has given, and below the next life's.
    fence = 1 + greatest(c.fence, (
        select case when rebuilds > 0 then rebuilds * 1000000000 + 500000000 else 0 end from event_relay
    )),
    lease_until = clock_timestamp() + $3, served_at = clock_timestamp()
where (c.group_name, c.partition) = (
    select free.group_name, free.partition
    from event_cursors free
    where free.group_name = $1
        and (free.lease_until is null or free.lease_until <= clock_timestamp())
        and (free.not_before is null or free.not_before <= clock_timestamp())
        and (
            exists (
                select from events e
                where (hashtext(e.key) & 15) = free.partition and e.position > free.position
            )
            or exists (
                select from event_dead_letters d
                where d.group_name = free.group_name and d.partition = free.partition and d.state = 'due'
            )
        )
    order by free.served_at nulls first, free.partition
    limit 1
    for update skip locked
)
returning c.partition, c.position, greatest(c.taken, (select published from event_relay)) as taken, c.tries,
    c.fence, c.last_error

-- name: batch
select position, event_id, topic, key, occurred_at, payload
from events
where (hashtext(key) & 15) = $1 and position > $2
order by position
limit $3

-- name: due_letters
select position, event_id, topic, key, occurred_at, payload, tries
from event_dead_letters
where group_name = $1 and partition = $2 and state = 'due'
order by position
limit $3

-- name: count_letter_tries
update event_dead_letters set tries = tries + 1 where group_name = $1 and position = any ($2) and state = 'due'

-- name: note_taken
update event_cursors set position = $3, taken = greatest(taken, $4), tries = $5
where group_name = $1 and partition = $2

-- name: lock_lease
select fence from event_cursors where group_name = $1 and partition = $2 for update

-- name: hold
update event_cursors set lease_until = clock_timestamp() + $3 where group_name = $1 and partition = $2

-- name: acknowledge
update event_cursors set
    position = greatest(position, $3),
    tries = case when $3 > position then 0 else tries end,
    last_error = case when $3 > position then null else last_error end
where group_name = $1 and partition = $2

-- name: release
update event_cursors set holder = null, lease_until = null where group_name = $1 and partition = $2

-- name: wait_after_failure
update event_cursors set tries = $3, last_error = $4, not_before = clock_timestamp() + $5
where group_name = $1 and partition = $2

-- name: bury
insert into event_dead_letters (
    group_name, position, partition, event_id, topic, key, occurred_at, payload, tries, error, died_at, death
)
select $1, position, $2, event_id, topic, key, occurred_at, payload, $4, $5, $6, $7
from events
where position = $3
on conflict (group_name, position) do update set
    tries = excluded.tries, error = excluded.error, died_at = excluded.died_at, death = excluded.death,
    state = 'dead', sent_in = null
where event_dead_letters.death <> excluded.death

-- name: bury_letter
update event_dead_letters set state = 'dead', error = $3, died_at = $4, death = $5, sent_in = null
where group_name = $1 and position = $2 and state = 'due' and death <> $5

-- name: letters_done
delete from event_dead_letters where group_name = $1 and position = any ($2) and state = 'due'

-- name: dead_letters
select group_name, position, event_id, topic, key, occurred_at, payload, tries, error, died_at, state
from event_dead_letters
where $1::text is null or group_name = $1
order by group_name, position
limit $2

-- name: put_back
update event_dead_letters set state = 'due', tries = 1, sent_in = null
where group_name = $1 and ($2::bigint is null or position = $2) and state = 'dead'
returning position

-- name: count_dead
select count(*) from event_dead_letters where group_name = $1 and state = 'dead'

-- name: lock_cursors
select position from event_cursors where group_name = $1 order by partition for update

-- name: begin_generation
update event_groups set generation = generation + 1 where group_name = $1

-- name: reset_cursors
-- A partition that is behind the place stays where it is: what it was not told yet is told.
update event_cursors set
    position = least(position, $2), tries = 0, last_error = null, fence = fence + 1, holder = null,
    lease_until = null, not_before = null
where group_name = $1

-- name: drop_letters
delete from event_dead_letters where group_name = $1

-- name: drop_cursors
delete from event_cursors where group_name = $1

-- name: drop_group
delete from event_groups where group_name = $1

-- name: groups
select g.group_name, g.generation, g.created_at, min(c.position) filter (where lag.count > 0) as position,
    sum(lag.count)::bigint as waiting,
    (select count(*) from event_dead_letters d where d.group_name = g.group_name and d.state = 'dead') as dead,
    array_remove(array_agg(distinct c.holder), null) as holders
from event_groups g
join event_cursors c on c.group_name = g.group_name
cross join lateral (
    select count(*) as count from (
        select from events e
        where (hashtext(e.key) & 15) = c.partition and e.position > c.position
        limit $1
    ) behind
) lag
group by g.group_name
order by g.group_name

-- name: cursors
select g.group_name, g.generation, array_agg(c.position order by c.partition) as positions, max(c.taken) as taken
from event_groups g
join event_cursors c on c.group_name = g.group_name
group by g.group_name
order by g.group_name

-- name: relay_state
select position, published, rebuilds from event_relay

-- name: to_publish
select position, event_id, topic, key, occurred_at, payload, hashtext(key) & 15 as partition
from events
where position > $1 and position > ($2::bigint[])[(hashtext(key) & 15) + 1]
order by position
limit $3

-- name: begin_publishing
update event_relay set published = greatest(published, $1)

-- name: begin_rebuild
update event_relay set rebuilds = rebuilds + 1 returning rebuilds

-- name: copy_cursor
update event_cursors c set
    position = $3, tries = 0, last_error = null
from event_groups g
where c.group_name = $1 and c.partition = $2 and g.group_name = c.group_name and g.generation = $4
    and c.position < $3

-- name: letters_to_send
select group_name, partition, position, event_id, topic, key, occurred_at, payload
from event_dead_letters
where state = 'due' and sent_in is distinct from $1
order by group_name, position
limit $2

-- name: letter_sent
update event_dead_letters set sent_in = $3 where group_name = $1 and position = $2 and state = 'due'
