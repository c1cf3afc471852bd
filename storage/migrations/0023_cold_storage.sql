-- migrate:up

-- What goes out of the database, file by file, and how far each move is: writing, checked (the copy was read back and
-- holds what stands here), removed. [first, stop) are sequences of the audit tree, or positions of events.
create table audit_archives (
    kind text not null check (kind in ('audit', 'events')),
    first bigint not null check (first >= 0),
    stop bigint not null,
    name text not null unique, -- of the object outside
    state text not null check (state in ('writing', 'checked', 'removed')),
    oldest_at timestamptz not null, -- of its rows
    newest_at timestamptz not null,
    keep_until timestamptz not null, -- nobody can delete the object before, where the store sees to that
    started_at timestamptz not null,
    -- What the copy was found to hold: sha256 over its rows as archived_rows_hash has it, and over its bytes.
    rows_hash text,
    object_hash text,
    object_bytes bigint,
    checked_at timestamptz,
    removed_at timestamptz,
    restored_at timestamptz, -- its payloads are back since then, for a while
    primary key (kind, first),
    unique (kind, stop),
    check (stop > first),
    check ((state = 'writing') = (checked_at is null)),
    check ((checked_at is null) = (rows_hash is null) and (checked_at is null) = (object_hash is null)
        and (checked_at is null) = (object_bytes is null)),
    check ((state = 'removed') = (removed_at is not null)),
    check (restored_at is null or state = 'removed' and kind = 'audit')
);
create index audit_archives_restored on audit_archives (restored_at) where restored_at is not null;
create index audit_archives_unfinished on audit_archives (kind) where state <> 'removed';

-- Months of the audit log that are gone by right. Their leaves and checkpoints stay.
create table audit_drops (
    partition text primary key,
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    rows bigint not null check (rows >= 0),
    first bigint, -- the lowest and the highest sequence among them
    last bigint,
    person text not null check (person <> ''),
    reason text not null check (reason <> ''),
    nonce text not null unique, -- of the signed grant
    key_id text not null references operator_keys,
    dropped_at timestamptz not null
);
create trigger drop_rows before update or delete on audit_drops
    for each row execute function refuse_audit_change();
create trigger drop_truncate before truncate on audit_drops
    for each statement execute function refuse_audit_change();

-- A move begins where the former one of its kind ends, and only goes on. What says that rows are gone, or back, is
-- written by whoever removes them: the functions below, with their owner's rights.
create function refuse_archive_change() returns trigger language plpgsql
    set search_path from current as $$
begin
    if tg_op in ('DELETE', 'TRUNCATE') then
        raise exception 'audit_archives is append-only: % refused', tg_op using errcode = 'insufficient_privilege';
    elsif tg_op = 'INSERT' then
        if new.state <> 'writing' or new.first <> coalesce(
            (select max(stop) from audit_archives where kind = new.kind),
            case new.kind when 'events' then (select coalesce(min(position), 1) from events) else 0 end)
        then
            raise exception 'audit_archives: a move begins where the former one ends'
                using errcode = 'insufficient_privilege';
        end if;
    elsif (new.kind, new.first, new.stop, new.name, new.oldest_at, new.newest_at, new.keep_until, new.started_at)
        <> (old.kind, old.first, old.stop, old.name, old.oldest_at, old.newest_at, old.keep_until, old.started_at)
        or (old.state <> 'writing' and (new.state = 'writing' or new.rows_hash <> old.rows_hash))
        or (old.state = 'removed' and new.state <> 'removed')
        or (new.state, new.removed_at, new.restored_at) is distinct from (old.state, old.removed_at, old.restored_at)
            and not (old.state = 'writing' and new.state = 'checked')
            and current_user <> (select pg_get_userbyid(relowner) from pg_class where oid = tg_relid)
    then
        raise exception 'audit_archives is append-only: a move only goes on' using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;
create trigger archive_rows before insert or update or delete on audit_archives
    for each row execute function refuse_archive_change();
create trigger archive_truncate before truncate on audit_archives
    for each statement execute function refuse_archive_change();

-- The move that covers a sealed row: the last one that begins at or before it, however many there are.
create function archive_of(wanted bigint) returns audit_archives language sql stable
    set search_path from current as $$
    select a from audit_archives a
    where a.kind = 'audit' and a.stop > wanted and a.first = (
        select first from audit_archives where kind = 'audit' and first <= wanted order by first desc limit 1)
$$;

-- A payload goes when a copy that was read back covers it; by anything else it is refused as before.
create or replace function refuse_payload_change() returns trigger language plpgsql
    set search_path from current as $$
begin
    if tg_op = 'DELETE' then
        if (archive_of((select sequence from audit_leaves where audit_id = old.audit_id))).checked_at is not null then
            return old;
        end if;
    end if;
    raise exception '% is append-only: % refused', tg_table_name, tg_op using errcode = 'insufficient_privilege';
end
$$;

-- A payload is that of the row that its session has written last; or one that comes back from cold storage, to a row
-- with its very hash. The setting only says which of the two to look for, and opens nothing.
create or replace function refuse_foreign_payload() returns trigger language plpgsql
    security definer set search_path from current as $$
begin
    if current_setting('trading.restoring', true) = 'on' then
        if exists (
            select from audit_leaves l
            join audit_log g on g.id = l.audit_id and g.occurred_at = l.occurred_at
            where l.audit_id = new.audit_id and (archive_of(l.sequence)).state = 'removed'
                and g.input_hash = encode(sha256(convert_to(new.payload, 'UTF8')), 'hex')
        ) then
            return new;
        end if;
        raise exception 'audit_payloads: this is not what row % was hashed from', new.audit_id
            using errcode = 'insufficient_privilege';
    end if;
    if new.audit_id <> currval('audit_log_id_seq') then
        raise exception 'audit_payloads is append-only: % is not the row just written', new.audit_id
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;

-- How old at least: by the caller's clock and by ours. No setting makes this shorter.
create function is_past(at timestamptz, wall timestamptz, age interval) returns boolean language sql as $$
    select at < least(wall, clock_timestamp()) - age
$$;

-- Where the next file of payloads ends: sealed rows in a row, all older than wanted, of which a checkpoint is outside.
create function plan_audit_archive(
    beginning bigint, rows_max integer, bytes_max bigint, wall timestamptz, age interval, out stop bigint,
    out oldest_at timestamptz, out newest_at timestamptz
) language sql security definer set search_path from current as $$
    with seen as (
        select l.sequence, l.occurred_at,
            sum(coalesce(octet_length(p.payload), 0)) over (order by l.sequence) as bytes,
            bool_and(is_past(l.occurred_at, wall, greatest(age, interval '30 days'))) over (order by l.sequence) as old
        from audit_leaves l left join audit_payloads p on p.audit_id = l.audit_id
        where l.sequence >= beginning and l.sequence < beginning + rows_max
            and l.sequence < (select max(size) from audit_checkpoints where published_at is not null)
    )
    select max(sequence) + 1, min(occurred_at), max(occurred_at) from seen where old and (bytes <= bytes_max or sequence = beginning)
$$;

-- Rows of an earlier release whose text could not be kept when migration 0021 moved them, as its own audit row says
-- if the first checkpoint covers it: their payloads do not have the hash in their row.
create function rows_without_their_hash() returns bigint[] language sql
    set search_path from current as $$
    select coalesce((
        select array(select jsonb_array_elements_text(p.payload::jsonb -> 'rows_without_their_hash'))::bigint[]
        from audit_log a
        join audit_payloads p on p.audit_id = a.id
        join audit_leaves l on l.audit_id = a.id
        where a.correlation_id = 'audit' and a.component = 'Migration' and a.decision = 'AUDIT_MOVED' and a.previous_size is null
            and l.sequence < (select min(size) from audit_checkpoints)
            and a.input_hash = encode(sha256(convert_to(p.payload, 'UTF8')), 'hex')
        order by a.id
        limit 1
    ), '{}')
$$;

-- The payloads of sealed rows that are old enough to go; null where there is none.
create function archivable_payloads(beginning bigint, ending bigint, wall timestamptz)
    returns table (sequence bigint, payload text, moved boolean) language sql
    security definer set search_path from current as $$
    select l.sequence, p.payload, l.audit_id = any (moved.ids)
    from (select rows_without_their_hash() as ids) moved, audit_leaves l
    left join audit_payloads p on p.audit_id = l.audit_id
    where l.sequence >= beginning and l.sequence < ending and is_past(l.occurred_at, wall, interval '30 days')
    order by l.sequence
$$;

-- sha256 over what a file is to hold, and how many rows that are: of each audit row its leaf and the hash of its
-- payload; of each event the hash of its fields.
create function archived_rows_hash(wanted_kind text, beginning bigint, ending bigint, out count bigint, out hash text)
    language sql set search_path from current as $$
    select count(*), encode(sha256(coalesce(string_agg(part, ''::bytea order by place), ''::bytea)), 'hex')
    from (
        select l.sequence as place, l.leaf || sha256(convert_to(p.payload, 'UTF8')) as part
        from audit_leaves l join audit_payloads p on p.audit_id = l.audit_id
        where wanted_kind = 'audit' and l.sequence >= beginning and l.sequence < ending
        union all
        select position, sha256(convert_to(concat_ws(chr(31), position, event_id, topic, key,
            (extract(epoch from occurred_at) * 1000000)::bigint, payload), 'UTF8'))
        from events
        where wanted_kind = 'events' and position >= beginning and position < ending
    ) parts
$$;

-- The record of a move whose rows may go now; null where they have gone. Raises where it does not cover exactly what
-- stands here, or something of it is too young.
create function removable_archive(wanted_kind text, beginning bigint, wall timestamptz) returns audit_archives
    language plpgsql set search_path from current as $$
declare
    found_archive audit_archives;
    here record;
begin
    select * into found_archive from audit_archives where kind = wanted_kind and first = beginning for update;
    if found_archive.state = 'removed' and found_archive.restored_at is null then
        return null;
    end if;
    if found_archive.checked_at is null then
        raise exception 'cold storage: % from % on was not read back', wanted_kind, beginning
            using errcode = 'insufficient_privilege';
    end if;
    here := archived_rows_hash(wanted_kind, found_archive.first, found_archive.stop);
    if here.count <> found_archive.stop - found_archive.first or here.hash <> found_archive.rows_hash then
        raise exception 'cold storage: % does not hold exactly what stands here', found_archive.name
            using errcode = 'insufficient_privilege';
    end if;
    return found_archive;
end
$$;

create function remove_archived_payloads(beginning bigint, wall timestamptz) returns bigint language plpgsql
    security definer set search_path from current as $$
declare
    archive audit_archives := removable_archive('audit', beginning, wall);
begin
    if archive.kind is null then
        return 0;
    end if;
    if archive.stop > (select coalesce(max(size), 0) from audit_checkpoints where published_at is not null) then
        raise exception 'cold storage: no checkpoint outside covers %', archive.name
            using errcode = 'insufficient_privilege';
    end if;
    if exists (
        select from audit_leaves where sequence >= archive.first and sequence < archive.stop
            and not is_past(occurred_at, wall, interval '30 days')
    ) then
        raise exception 'cold storage: something in % is younger than 30 days', archive.name
            using errcode = 'insufficient_privilege';
    end if;
    delete from audit_payloads p using audit_leaves l
    where l.sequence >= archive.first and l.sequence < archive.stop and p.audit_id = l.audit_id;
    update audit_archives set state = 'removed', removed_at = wall, restored_at = null
    where kind = 'audit' and first = archive.first;
    return archive.stop - archive.first;
end
$$;

-- The first event of a range that some consumer group has not acknowledged, and the group; nothing where there is none.
create function held_event(beginning bigint, ending bigint, out group_name text, out "position" bigint)
    language plpgsql security definer set search_path from current as $$
begin
    select g.group_name, e.position into held_event.group_name, held_event.position
    from events e cross join event_groups g
    left join event_cursors c on c.group_name = g.group_name and c.partition = (hashtext(e.key) & 15)
    where e.position >= beginning and e.position < ending and e.position > coalesce(c.position, 0)
    order by e.position
    limit 1;
end
$$;

create function remove_archived_events(beginning bigint, wall timestamptz) returns bigint language plpgsql
    security definer set search_path from current as $$
declare
    archive audit_archives := removable_archive('events', beginning, wall);
    held record;
begin
    if archive.kind is null then
        return 0;
    end if;
    held := held_event(archive.first, archive.stop);
    if held.position is not null then
        raise exception 'cold storage: group % has not acknowledged % of %', held.group_name, held.position,
            archive.name using errcode = 'insufficient_privilege';
    end if;
    if exists (
        select from events where position >= archive.first and position < archive.stop
            and not is_past(occurred_at, wall, interval '30 days')
    ) then
        raise exception 'cold storage: something in % is younger than 30 days', archive.name
            using errcode = 'insufficient_privilege';
    end if;
    delete from events where position >= archive.first and position < archive.stop;
    update audit_archives set state = 'removed', removed_at = wall where kind = 'events' and first = archive.first;
    return archive.stop - archive.first;
end
$$;

-- Payloads of one file in their order; each must be what its row was hashed from. How many came back: 0 where they
-- are here.
create function restore_archived_payloads(beginning bigint, payloads text[], wall timestamptz) returns bigint
    language plpgsql security definer set search_path from current as $$
declare
    archive audit_archives;
    count bigint;
begin
    select * into archive from audit_archives where kind = 'audit' and first = beginning for update;
    if archive.state is distinct from 'removed' then
        raise exception 'cold storage: no payloads from % on were removed', beginning
            using errcode = 'insufficient_privilege';
    end if;
    if archive.restored_at is not null then
        return 0;
    end if;
    perform set_config('trading.restoring', 'on', true);
    insert into audit_payloads (audit_id, payload)
    select l.audit_id, told.payload
    from unnest(payloads) with ordinality as told (payload, place)
    join audit_leaves l on l.sequence = archive.first + told.place - 1 and l.sequence < archive.stop;
    get diagnostics count = row_count;
    perform set_config('trading.restoring', 'off', true);
    if count <> archive.stop - archive.first or count <> cardinality(payloads) then
        raise exception 'cold storage: % payloads for the % rows of %', cardinality(payloads),
            archive.stop - archive.first, archive.name using errcode = 'insufficient_privilege';
    end if;
    update audit_archives set restored_at = wall where kind = 'audit' and first = archive.first;
    return count;
end
$$;

-- Drops a month that is older than seven years, whole, sealed and in cold storage. Gives up after two seconds where
-- the log is in use. Again by the same grant is harmless.
create function drop_audit_partition(
    wanted text, grant_nonce text, grant_key text, who text, why text, wall timestamptz
) returns bigint language plpgsql
    security definer set search_path from current set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
    starts timestamptz;
    ends timestamptz;
    sealed record;
    here bigint;
begin
    if exists (select from audit_drops where partition = wanted and nonce = grant_nonce) then
        return (select rows from audit_drops where partition = wanted);
    end if;
    if wanted !~ '^audit_log_\d{4}_\d{2}$' or not exists (
        select from pg_inherits where inhparent = 'audit_log'::regclass and inhrelid = to_regclass(wanted)
    ) then
        raise exception '% is no month of the audit log', wanted using errcode = 'insufficient_privilege';
    end if;
    starts := to_date(right(wanted, 7), 'YYYY_MM')::timestamptz;
    ends := starts + interval '1 month';
    if not is_past(ends, wall, interval '7 years') then
        raise exception '% is younger than seven years', wanted using errcode = 'insufficient_privilege';
    end if;
    -- From here on nobody writes into it. Others read it, and write into younger months, until all is looked at.
    execute format('lock table %I in share row exclusive mode', wanted);
    execute format('select count(*) from %I', wanted) into here;
    select count(*), min(l.sequence) as first, max(l.sequence) as last into sealed
    from audit_leaves l where l.occurred_at >= starts and l.occurred_at < ends;
    if sealed.count <> here or exists (select from audit_unsealed where occurred_at >= starts and occurred_at < ends)
        or sealed.last >= (select coalesce(max(size), 0) from audit_checkpoints where published_at is not null)
    then
        raise exception '%: % rows, of which % are sealed', wanted, here, sealed.count
            using errcode = 'insufficient_privilege';
    end if;
    if exists (
        select from audit_leaves l, archive_of(l.sequence) a
        where l.occurred_at >= starts and l.occurred_at < ends
            and (a.state is distinct from 'removed' or a.restored_at is not null)
    ) then
        raise exception '%: something of it is not in cold storage alone', wanted
            using errcode = 'insufficient_privilege';
    end if;
    -- First the whole, then the part, as whoever reads or writes the log does.
    lock table audit_log in access exclusive mode;
    execute format('drop table %I', wanted);
    insert into audit_drops (partition, starts_at, ends_at, rows, first, last, person, reason, nonce, key_id, dropped_at)
    values (wanted, starts, ends, here, sealed.first, sealed.last, who, why, grant_nonce, grant_key, wall);
    return here;
end
$$;

revoke all on function plan_audit_archive(bigint, integer, bigint, timestamptz, interval),
    archivable_payloads(bigint, bigint, timestamptz), remove_archived_payloads(bigint, timestamptz),
    remove_archived_events(bigint, timestamptz), restore_archived_payloads(bigint, text[], timestamptz),
    drop_audit_partition(text, text, text, text, text, timestamptz), held_event(bigint, bigint),
    removable_archive(text, bigint, timestamptz), archived_rows_hash(text, bigint, bigint),
    rows_without_their_hash(), archive_of(bigint) from public;

-- migrate:down

create or replace function refuse_payload_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_table_name, tg_op using errcode = 'insufficient_privilege';
end
$$;
alter function refuse_payload_change() reset all;
create or replace function refuse_foreign_payload() returns trigger language plpgsql
    security definer set search_path from current as $$
begin
    if new.audit_id <> currval('audit_log_id_seq') then
        raise exception 'audit_payloads is append-only: % is not the row just written', new.audit_id
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;
drop function drop_audit_partition, restore_archived_payloads, remove_archived_events, held_event,
    remove_archived_payloads, removable_archive, archived_rows_hash, archivable_payloads,
    rows_without_their_hash, plan_audit_archive, is_past;
drop function archive_of;
drop table audit_drops, audit_archives;
drop function refuse_archive_change;
