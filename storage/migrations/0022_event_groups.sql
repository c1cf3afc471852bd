-- migrate:up

-- Events are handed to groups of consumers by partition: a key's events are always in one, and one consumer at a time
-- holds it, so that they stay in order. Schemas/wire.py has the number of partitions; it never changes.
create index events_partition on events ((hashtext(key) & 15), position) where position is not null;

create table event_groups (
    group_name text primary key check (group_name ~ '^[a-z][a-z0-9._-]{0,63}$'),
    -- Grows with each reset: what was acknowledged of an earlier one counts no more.
    generation bigint not null default 0,
    created_at timestamptz not null
);

-- How far a group has come, whichever bus delivers.
create table event_cursors (
    group_name text not null references event_groups,
    partition integer not null check (partition between 0 and 15),
    -- Acknowledged up to here.
    position bigint not null check (position >= 0),
    -- May have been handed out up to here: what is handed out again is known by it.
    taken bigint not null check (taken >= 0),
    -- How often the first event after `position` was handed out, and what became of it the last time.
    tries integer not null default 0,
    last_error text,
    -- Grows with every lease: who holds an older one holds nothing.
    fence bigint not null default 0,
    holder text,
    lease_until timestamptz,
    -- After a failure.
    not_before timestamptz,
    served_at timestamptz,
    primary key (group_name, partition)
);

-- What a group could not take, whole: the event itself may be archived by the time somebody looks.
create table event_dead_letters (
    group_name text not null references event_groups,
    position bigint not null,
    partition integer not null,
    event_id text not null,
    topic text not null,
    key text not null,
    occurred_at timestamptz not null,
    payload jsonb not null,
    tries integer not null,
    error text not null,
    died_at timestamptz not null,
    -- Which of its deaths this is, where a bus tells of it that may tell twice.
    death text not null,
    -- 'due': a person has put it back, it is to be delivered again.
    state text not null default 'dead' check (state in ('dead', 'due')),
    -- In which life of the Redis streams it was put there again.
    sent_in bigint,
    primary key (group_name, position)
);
create index event_dead_letters_due on event_dead_letters (group_name, partition, position) where state = 'due';

-- Up to where events may have gone to Redis, said before they go; and how often its streams were made anew.
alter table event_relay add column published bigint not null default 0 check (published >= 0);
alter table event_relay add column rebuilds bigint not null default 0 check (rebuilds >= 0);

-- migrate:down

alter table event_relay drop column rebuilds;
alter table event_relay drop column published;
drop table event_dead_letters;
drop table event_cursors;
drop table event_groups;
drop index events_partition;
