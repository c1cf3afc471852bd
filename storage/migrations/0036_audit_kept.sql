-- migrate:up

-- What is append-only is kept so by statement: a change that finds no row is refused too, and a table of many rows is
-- not asked row by row. The audit log itself stays by row, so that it holds for every partition.
drop trigger payload_rows on audit_payloads;
drop trigger payload_truncate on audit_payloads;
drop trigger unsealed_rows on audit_unsealed;
drop trigger unsealed_truncate on audit_unsealed;
create trigger unsealed_kept before update or truncate on audit_unsealed
    for each statement execute function refuse_audit_change();
drop trigger leaf_rows on audit_leaves;
drop trigger leaf_truncate on audit_leaves;
create trigger leaf_kept before update or delete or truncate on audit_leaves
    for each statement execute function refuse_audit_change();
drop trigger head_stays on audit_head;
drop trigger head_truncate on audit_head;
create trigger head_kept before delete or truncate on audit_head
    for each statement execute function refuse_audit_change();
drop trigger checkpoint_stays on audit_checkpoints;
drop trigger checkpoint_truncate on audit_checkpoints;
create trigger checkpoint_kept before delete or truncate on audit_checkpoints
    for each statement execute function refuse_audit_change();
drop trigger drop_rows on audit_drops;
drop trigger drop_truncate on audit_drops;
create trigger drop_kept before update or delete or truncate on audit_drops
    for each statement execute function refuse_audit_change();

-- Where the next move of a kind begins.
create function next_archived(wanted_kind text) returns bigint language sql set search_path from current as $$
    select coalesce(
        (select max(stop) from audit_archives where kind = wanted_kind),
        case wanted_kind when 'events' then (select coalesce(min(position), 1) from events) else 0 end)
$$;

drop trigger archive_rows on audit_archives;
drop trigger archive_truncate on audit_archives;
-- A move begins where the former one of its kind ends, and only goes on. What says that rows are gone, or back, is
-- written by whoever removes them: the functions below, with their owner's rights.
create or replace function refuse_archive_change() returns trigger language plpgsql
    set search_path from current as $$
begin
    if tg_op = 'INSERT' then
        if new.state <> 'writing' or new.first <> next_archived(new.kind) then
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
create trigger archive_goes_on before insert or update on audit_archives
    for each row execute function refuse_archive_change();
create trigger archive_kept before delete or truncate on audit_archives
    for each statement execute function refuse_audit_change();

-- A payload goes when a copy that was read back covers it, and not otherwise.
create function refuse_payload_removal() returns trigger language plpgsql
    set search_path from current as $$
begin
    if (archive_of((select sequence from audit_leaves where audit_id = old.audit_id))).checked_at is null then
        raise exception '% is append-only: % refused', tg_table_name, tg_op using errcode = 'insufficient_privilege';
    end if;
    return old;
end
$$;
drop function refuse_payload_change;
create trigger payload_kept before update or truncate on audit_payloads
    for each statement execute function refuse_audit_change();
create trigger payload_taken before delete on audit_payloads
    for each row execute function refuse_payload_removal();

-- A payload is that of the row that its session has written last.
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

-- One that comes back from cold storage goes to a row with its very hash.
create function refuse_foreign_restoration() returns trigger language plpgsql
    security definer set search_path from current as $$
begin
    if not exists (
        select from audit_leaves l
        join audit_log g on g.id = l.audit_id and g.occurred_at = l.occurred_at
        where l.audit_id = new.audit_id and (archive_of(l.sequence)).state = 'removed'
            and g.input_hash = encode(sha256(convert_to(new.payload, 'UTF8')), 'hex')
    ) then
        raise exception 'audit_payloads: this is not what row % was hashed from', new.audit_id
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;
-- The setting only says which of the two to look for, and opens nothing.
create or replace trigger payload_owned before insert on audit_payloads
    for each row when (current_setting('trading.restoring', true) is distinct from 'on')
    execute function refuse_foreign_payload();
create trigger payload_restored before insert on audit_payloads
    for each row when (current_setting('trading.restoring', true) = 'on')
    execute function refuse_foreign_restoration();

drop function archivable_payloads(bigint, bigint, timestamptz);
-- Rows whose text could not be kept when an earlier release's log was moved: their payloads do not have the hash in their row.
create or replace function rows_without_their_hash() returns bigint[] language sql
    security definer set search_path from current as $$
    select coalesce((
        select array(select jsonb_array_elements_text(told::jsonb -> 'rows_without_their_hash'))::bigint[]
        from audit_moved()
        where hash = encode(sha256(convert_to(told, 'UTF8')), 'hex')
    ), '{}')
$$;

-- The payloads of sealed rows that are old enough to go; null where there is none.
create function archivable_payloads(beginning bigint, ending bigint, wall timestamptz)
    returns table (sequence bigint, payload text) language sql
    security definer set search_path from current as $$
    select l.sequence, p.payload
    from audit_leaves l
    left join audit_payloads p on p.audit_id = l.audit_id
    where l.sequence >= beginning and l.sequence < ending and is_past(l.occurred_at, wall, interval '30 days')
    order by l.sequence
$$;

drop function archived_rows_hash(text, bigint, bigint);
-- sha256 over what a file is to hold, and how many rows that are: of each audit row its leaf and the hash of its
-- payload; of each event the hash of its fields. And when the newest of them occurred.
create function archived_rows_hash(
    wanted_kind text, beginning bigint, ending bigint, out count bigint, out hash text, out newest_at timestamptz
) language sql set search_path from current as $$
    select count(*), encode(sha256(coalesce(string_agg(part, ''::bytea order by place), ''::bytea)), 'hex'),
        max(occurred_at)
    from (
        select l.sequence as place, l.occurred_at, l.leaf || sha256(convert_to(p.payload, 'UTF8')) as part
        from audit_leaves l join audit_payloads p on p.audit_id = l.audit_id
        where wanted_kind = 'audit' and l.sequence >= beginning and l.sequence < ending
        union all
        select position, occurred_at, sha256(convert_to(concat_ws(chr(31), position, event_id, topic, key,
            (extract(epoch from occurred_at) * 1000000)::bigint, payload), 'UTF8'))
        from events
        where wanted_kind = 'events' and position >= beginning and position < ending
    ) parts
$$;

-- The record of a move whose rows may go now; null where they have gone. Raises where it does not cover exactly what
-- stands here, or something of it is too young.
create or replace function removable_archive(wanted_kind text, beginning bigint, wall timestamptz) returns audit_archives
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
    if not is_past(here.newest_at, wall, interval '30 days') then
        raise exception 'cold storage: something in % is younger than 30 days', found_archive.name
            using errcode = 'insufficient_privilege';
    end if;
    return found_archive;
end
$$;

create or replace function remove_archived_payloads(beginning bigint, wall timestamptz) returns bigint language plpgsql
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
    delete from audit_payloads p using audit_leaves l
    where l.sequence >= archive.first and l.sequence < archive.stop and p.audit_id = l.audit_id;
    update audit_archives set state = 'removed', removed_at = wall, restored_at = null
    where kind = 'audit' and first = archive.first;
    return archive.stop - archive.first;
end
$$;

create or replace function remove_archived_events(beginning bigint, wall timestamptz) returns bigint language plpgsql
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
    delete from events where position >= archive.first and position < archive.stop;
    update audit_archives set state = 'removed', removed_at = wall where kind = 'events' and first = archive.first;
    return archive.stop - archive.first;
end
$$;

revoke all on function archivable_payloads(bigint, bigint, timestamptz), archived_rows_hash(text, bigint, bigint)
    from public;

-- migrate:down

drop trigger unsealed_kept on audit_unsealed;
drop trigger leaf_kept on audit_leaves;
drop trigger head_kept on audit_head;
drop trigger checkpoint_kept on audit_checkpoints;
drop trigger drop_kept on audit_drops;
drop trigger archive_goes_on on audit_archives;
drop trigger archive_kept on audit_archives;
drop trigger payload_kept on audit_payloads;
drop trigger payload_taken on audit_payloads;
drop trigger payload_restored on audit_payloads;
drop function archivable_payloads, archived_rows_hash, refuse_payload_removal, refuse_foreign_restoration;
create or replace function refuse_archive_change() returns trigger language plpgsql
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
drop function next_archived;
create trigger archive_rows before insert or update or delete on audit_archives
    for each row execute function refuse_archive_change();
create trigger archive_truncate before truncate on audit_archives
    for each statement execute function refuse_archive_change();
create function refuse_payload_change() returns trigger language plpgsql
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
create trigger payload_rows before update or delete on audit_payloads
    for each row execute function refuse_payload_change();
create trigger payload_truncate before truncate on audit_payloads
    for each statement execute function refuse_payload_change();
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
create or replace trigger payload_owned before insert on audit_payloads
    for each row execute function refuse_foreign_payload();
create or replace function rows_without_their_hash() returns bigint[] language sql
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
create function archivable_payloads(beginning bigint, ending bigint, wall timestamptz)
    returns table (sequence bigint, payload text, moved boolean) language sql
    security definer set search_path from current as $$
    select l.sequence, p.payload, l.audit_id = any (moved.ids)
    from (select rows_without_their_hash() as ids) moved, audit_leaves l
    left join audit_payloads p on p.audit_id = l.audit_id
    where l.sequence >= beginning and l.sequence < ending and is_past(l.occurred_at, wall, interval '30 days')
    order by l.sequence
$$;
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
create or replace function removable_archive(wanted_kind text, beginning bigint, wall timestamptz) returns audit_archives
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
create or replace function remove_archived_payloads(beginning bigint, wall timestamptz) returns bigint language plpgsql
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
create or replace function remove_archived_events(beginning bigint, wall timestamptz) returns bigint language plpgsql
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
revoke all on function archivable_payloads(bigint, bigint, timestamptz), archived_rows_hash(text, bigint, bigint)
    from public;
alter function rows_without_their_hash() security invoker;
create trigger unsealed_rows before update on audit_unsealed
    for each row execute function refuse_audit_change();
create trigger unsealed_truncate before truncate on audit_unsealed
    for each statement execute function refuse_audit_change();
create trigger leaf_rows before update or delete on audit_leaves
    for each row execute function refuse_audit_change();
create trigger leaf_truncate before truncate on audit_leaves
    for each statement execute function refuse_audit_change();
create trigger head_stays before delete on audit_head
    for each row execute function refuse_audit_change();
create trigger head_truncate before truncate on audit_head
    for each statement execute function refuse_audit_change();
create trigger checkpoint_stays before delete on audit_checkpoints
    for each row execute function refuse_audit_change();
create trigger checkpoint_truncate before truncate on audit_checkpoints
    for each statement execute function refuse_audit_change();
create trigger drop_rows before update or delete on audit_drops
    for each row execute function refuse_audit_change();
create trigger drop_truncate before truncate on audit_drops
    for each statement execute function refuse_audit_change();
