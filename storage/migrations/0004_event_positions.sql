-- migrate:up

-- The order in which events were inserted. The rows of one key are inserted under that key's lock, so for one
-- key this is also the order of their commits.
alter table events add column sequence bigint;

-- Rows from before: each was written together with an audit row, whose id was taken under the lock of its order
-- or switch. occurred_at cannot tell: it may tie, and a fill's is the broker's time.
update events e set sequence = placed.sequence
from (
    select event_id, row_number() over (order by story.id, events.ctid) as sequence
    from events
    left join (select xmin as written_by, min(id) as id from audit_log group by xmin) story
        on story.written_by = events.xmin
) placed
where e.event_id = placed.event_id;

alter table events alter column sequence set not null;
alter table events alter column sequence add generated always as identity;
select setval(pg_get_serial_sequence('events', 'sequence'), max(sequence)) from events having max(sequence) > 0;

-- How far the relay has numbered; only its leader writes here. It outlives the events themselves, so that a
-- position is never given twice.
create table event_relay (
    singleton boolean primary key default true check (singleton),
    position bigint not null check (position >= 0),
    -- The relay waits for NOTIFY. While it works it looks by itself, and writers need not notify: commits that
    -- do are made one after the other.
    asleep boolean not null default true
);
insert into event_relay (position) select coalesce(max(position), 0) from events;

create function wake_event_relay() returns trigger language plpgsql
    -- Whoever may write an event may wake the relay.
    security definer set search_path from current as $$
begin
    if (select asleep from event_relay) then
        perform pg_notify('events_written', '');
    end if;
    return null;
end
$$;
create trigger events_written after insert on events for each statement execute function wake_event_relay();

drop index events_unnumbered;
create index events_unnumbered on events (sequence) where position is null;
drop index events_key;
create index events_key on events (key, position);
create index events_occurred on events (occurred_at);

-- migrate:down

drop index events_occurred, events_key, events_unnumbered;
drop trigger events_written on events;
drop function wake_event_relay;
drop table event_relay;
alter table events drop column sequence;
create index events_unnumbered on events (occurred_at) where position is null;
create index events_key on events (key, occurred_at);
