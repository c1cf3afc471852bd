-- migrate:up

-- The audit log anew: monthly partitions, the text that was hashed instead of jsonb, which changes numbers, and the
-- queue, leaves, head and checkpoints of its Merkle tree. The rows of earlier releases come over with their ids.

alter table audit_log rename to audit_log_before;
alter index audit_correlation rename to audit_correlation_before;
alter table audit_log_before rename constraint audit_log_pkey to audit_log_before_pkey;
alter sequence audit_log_id_seq rename to audit_log_before_id_seq;

create table audit_log (
    id bigint generated always as identity,
    -- A leaf writes it with a year of four digits.
    occurred_at timestamptz not null check (occurred_at >= '0002-01-01Z' and occurred_at < '9999-01-01Z'),
    correlation_id text not null,
    component text not null,
    actor text not null,
    input_hash text not null, -- sha256 of the payload's bytes, in hexadecimal
    decision text not null,
    checks text not null check (checks is json array), -- canonical JSON
    refs text not null check (refs is json array), -- canonical JSON
    -- The newest checkpoint outside the database when the row was written.
    previous_size bigint,
    previous_root text, -- in hexadecimal
    primary key (id, occurred_at),
    check ((previous_size is null) = (previous_root is null))
) partition by range (occurred_at);
create index audit_correlation on audit_log (correlation_id, id);

-- What each decision was made from: canonical JSON. Apart from the row, because it goes to cold storage before it.
create table audit_payloads (
    audit_id bigint primary key,
    payload text not null check (payload is json object)
);

-- Written and committed, not sealed yet. What is not committed is not here, so no row is ever passed over.
create table audit_unsealed (
    id bigint primary key,
    occurred_at timestamptz not null
);

-- The tree's leaves (RFC 6962): sequence counts from 0 without holes.
create table audit_leaves (
    sequence bigint primary key check (sequence >= 0),
    audit_id bigint not null unique,
    occurred_at timestamptz not null,
    leaf bytea not null check (length(leaf) = 32)
);
-- Leaves come nearly in the order of time.
create index audit_leaves_times on audit_leaves using brin (occurred_at);

-- One row. The frontier is the compact range of the tree: the hashes of its perfect subtrees, largest first.
create table audit_head (
    singleton boolean primary key default true check (singleton),
    size bigint not null check (size >= 0),
    root bytea not null check (length(root) = 32),
    frontier bytea not null check (length(frontier) % 32 = 0),
    -- The newest checkpoint that is outside the database.
    checkpoint_size bigint,
    checkpoint_root bytea,
    check ((checkpoint_size is null) = (checkpoint_root is null))
);
insert into audit_head (size, root, frontier) values (0, sha256(''), '');

-- Signed, and from published_at on outside the database.
create table audit_checkpoints (
    size bigint primary key check (size > 0),
    root bytea not null check (length(root) = 32),
    frontier bytea not null check (length(frontier) % 32 = 0),
    note text not null, -- C2SP tlog-checkpoint
    signed_at timestamptz not null,
    published_at timestamptz
);

-- Nothing that is a record changes, whoever asks.
create or replace function refuse_audit_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_table_name, tg_op using errcode = 'insufficient_privilege';
end
$$;

-- The way to cold storage may widen what this one lets through.
create function refuse_payload_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_table_name, tg_op using errcode = 'insufficient_privilege';
end
$$;

-- Queues each row for sealing. Nobody names an id: one taken in advance would make a later fact unwritable.
create function queue_audit_row() returns trigger language plpgsql
    security definer set search_path from current as $$
begin
    if new.id <> currval('audit_log_id_seq') or exists (select from audit_leaves where audit_id = new.id) then
        raise exception 'audit_log is append-only: id % was not given by it', new.id
            using errcode = 'insufficient_privilege';
    end if;
    insert into audit_unsealed (id, occurred_at) values (new.id, new.occurred_at);
    return new;
end
$$;

-- A payload is that of the row that its session has written last; for another's row nobody can write one.
create function refuse_foreign_payload() returns trigger language plpgsql
    security definer set search_path from current as $$
begin
    if new.audit_id <> currval('audit_log_id_seq') then
        raise exception 'audit_payloads is append-only: % is not the row just written', new.audit_id
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;

-- What waits for sealing leaves the queue when it has a leaf, and not otherwise.
create function refuse_unsealing() returns trigger language plpgsql
    security definer set search_path from current as $$
begin
    if not exists (select from audit_leaves where audit_id = old.id) then
        raise exception 'audit_unsealed: row % is not sealed yet', old.id using errcode = 'insufficient_privilege';
    end if;
    return old;
end
$$;

-- A leaf is that of a row which waits for it: one for an id to come would make the row of that id unwritable.
create function refuse_foreign_leaf() returns trigger language plpgsql
    security definer set search_path from current as $$
begin
    if not exists (select from audit_unsealed where id = new.audit_id and occurred_at = new.occurred_at) then
        raise exception 'audit_leaves is append-only: row % does not wait for a leaf', new.audit_id
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;

-- The tree only grows, and one size has one root.
create function refuse_shrinking() returns trigger language plpgsql as $$
begin
    if new.size < old.size or new.checkpoint_size < old.checkpoint_size or new.checkpoint_size > new.size
        or (new.checkpoint_size is null and old.checkpoint_size is not null)
        or (new.size = old.size and (new.root, new.frontier) <> (old.root, old.frontier))
        or (new.checkpoint_size = old.checkpoint_size and new.checkpoint_root <> old.checkpoint_root)
    then
        raise exception 'audit_head is append-only: the tree only grows' using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;

create function refuse_checkpoint_change() returns trigger language plpgsql as $$
begin
    if old.published_at is not null or (new.size, new.root, new.frontier, new.note, new.signed_at)
        <> (old.size, old.root, old.frontier, old.note, old.signed_at)
    then
        raise exception 'audit_checkpoints is append-only: only published_at is set, once'
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;

-- Triggers for rows are handed on to every partition; those for TRUNCATE are not. Called under the owner's rights.
create function make_audit_partition(name text, bounds text) returns void language plpgsql
    set search_path from current as $$
begin
    execute format('create table %I (like audit_log including all excluding identity)', name);
    execute format('create trigger audit_truncate before truncate on %I '
        'for each statement execute function refuse_audit_change()', name);
    -- Attached, not made in place: that would keep every writer waiting for the lock on the whole log.
    execute format('alter table audit_log attach partition %I %s', name, bounds);
end
$$;

-- Partitions for the month of wanted_from and the next ones; the names of those that were made. A month of which
-- the default partition holds rows already stays there. Gives up after two seconds where a table is in use.
create function make_audit_partitions(wanted_from timestamptz, months integer) returns text[] language plpgsql
    security definer set search_path from current set lock_timeout = '2s' as $$
declare
    first timestamptz;
    name text;
    made text[] := '{}';
begin
    if months not between 0 and 24 then
        raise exception 'make_audit_partitions: 0 to 24 months ahead, not %', months;
    end if;
    for ahead in 0..months loop
        first := date_trunc('month', wanted_from, 'UTC') + make_interval(months => ahead);
        name := 'audit_log_' || to_char(first at time zone 'UTC', 'YYYY_MM');
        if to_regclass(name) is null and not exists (
            select from audit_log_default where occurred_at >= first and occurred_at < first + interval '1 month'
        ) then
            perform make_audit_partition(
                name, format('for values from (%L) to (%L)', first, first + interval '1 month'));
            made := made || name;
        end if;
    end loop;
    return made;
end
$$;

revoke all on function make_audit_partition(text, text), make_audit_partitions(timestamptz, integer) from public;

-- Months begin and end in UTC, whatever the session's zone is.
set local timezone = 'UTC';
select make_audit_partition('audit_log_default', 'default');
select make_audit_partitions(wanted, 0) from (
    select distinct date_trunc('month', occurred_at, 'UTC') as wanted from audit_log_before
    where occurred_at between now() - interval '10 years' and now()
) months;
select make_audit_partitions(now(), 3);

-- The canonical text of a jsonb value: keys sorted by code point, no spaces. Not of a number that jsonb has written
-- differently (1e-05): where that is in a payload, the text that is kept does not have the hash that was taken.
create function canonical_text(value jsonb) returns text language sql as $$
    select case jsonb_typeof(value)
        when 'object' then '{' || coalesce((
            select string_agg(to_jsonb(key)::text || ':' || canonical_text(item), ',' order by key collate "C")
            from jsonb_each(value) as pairs (key, item)), '') || '}'
        when 'array' then '[' || coalesce((
            select string_agg(canonical_text(item), ',' order by place)
            from jsonb_array_elements(value) with ordinality as items (item, place)), '') || ']'
        else value::text
    end
$$;

insert into audit_log (id, occurred_at, correlation_id, component, actor, input_hash, decision, checks, refs)
overriding system value
select id, occurred_at, correlation_id, component, actor, input_hash, decision,
    canonical_text(checks), canonical_text(refs)
from audit_log_before
order by id;
insert into audit_payloads (audit_id, payload) select id, canonical_text(payload) from audit_log_before order by id;
insert into audit_unsealed (id, occurred_at) select id, occurred_at from audit_log order by id;
select setval('audit_log_id_seq', last_value, is_called) from audit_log_before_id_seq;

create trigger audit_queued before insert on audit_log for each row execute function queue_audit_row();
create trigger audit_rows before update or delete on audit_log
    for each row execute function refuse_audit_change();
create trigger audit_truncate before truncate on audit_log
    for each statement execute function refuse_audit_change();

create trigger payload_owned before insert on audit_payloads
    for each row execute function refuse_foreign_payload();
create trigger payload_rows before update or delete on audit_payloads
    for each row execute function refuse_payload_change();
create trigger payload_truncate before truncate on audit_payloads
    for each statement execute function refuse_payload_change();

-- Filled by the trigger on audit_log alone, which is a depth of one when this is asked.
create trigger unsealed_queued before insert on audit_unsealed
    for each statement when (pg_trigger_depth() = 0) execute function refuse_audit_change();
create trigger unsealed_taken before delete on audit_unsealed
    for each row execute function refuse_unsealing();
create trigger unsealed_rows before update on audit_unsealed
    for each row execute function refuse_audit_change();
create trigger unsealed_truncate before truncate on audit_unsealed
    for each statement execute function refuse_audit_change();

create trigger leaf_waited_for before insert on audit_leaves
    for each row execute function refuse_foreign_leaf();
create trigger leaf_rows before update or delete on audit_leaves
    for each row execute function refuse_audit_change();
create trigger leaf_truncate before truncate on audit_leaves
    for each statement execute function refuse_audit_change();

create trigger head_grows before update on audit_head for each row execute function refuse_shrinking();
create trigger head_stays before delete on audit_head for each row execute function refuse_audit_change();
create trigger head_truncate before truncate on audit_head
    for each statement execute function refuse_audit_change();

create trigger checkpoint_published before update on audit_checkpoints
    for each row execute function refuse_checkpoint_change();
create trigger checkpoint_stays before delete on audit_checkpoints
    for each row execute function refuse_audit_change();
create trigger checkpoint_truncate before truncate on audit_checkpoints
    for each statement execute function refuse_audit_change();

-- The move says of itself how many rows came over, and which payloads do not have the hash that was taken.
with told as (
    select '{"detail":"audit rows of earlier releases moved over with their ids","rows":' || count(*)
        || ',"rows_without_their_hash":[' || coalesce(string_agg(id::text, ',' order by id) filter (
            where input_hash <> encode(sha256(convert_to(payload, 'UTF8')), 'hex')
        ), '') || ']}' as input
    from audit_log join audit_payloads on audit_id = id
), written as (
    insert into audit_log (occurred_at, correlation_id, component, actor, input_hash, decision, checks, refs)
    select now(), 'audit', 'Migration', 'migration 0021', encode(sha256(convert_to(input, 'UTF8')), 'hex'),
        'AUDIT_MOVED', '[]', '[]'
    from told where exists (select from audit_log_before)
    returning id
)
insert into audit_payloads (audit_id, payload) select id, input from written, told;

drop function canonical_text;
drop table audit_log_before;

-- migrate:down

create table audit_log_before (
    id bigint generated always as identity primary key,
    occurred_at timestamptz not null,
    correlation_id text not null,
    component text not null,
    actor text not null,
    input_hash text not null,
    decision text not null,
    checks jsonb not null,
    refs jsonb not null,
    payload jsonb not null
);
insert into audit_log_before overriding system value
select id, occurred_at, correlation_id, component, actor, input_hash, decision, checks::jsonb, refs::jsonb,
    coalesce(payload, '{}')::jsonb
from audit_log left join audit_payloads on audit_id = id
order by id;
select setval('audit_log_before_id_seq', last_value, is_called) from audit_log_id_seq;
drop table audit_log, audit_payloads, audit_unsealed, audit_leaves, audit_head, audit_checkpoints;
drop function make_audit_partitions, make_audit_partition, queue_audit_row, refuse_foreign_payload,
    refuse_payload_change, refuse_unsealing, refuse_foreign_leaf, refuse_shrinking, refuse_checkpoint_change;
alter table audit_log_before rename to audit_log;
alter table audit_log rename constraint audit_log_before_pkey to audit_log_pkey;
alter sequence audit_log_before_id_seq rename to audit_log_id_seq;
create index audit_correlation on audit_log (correlation_id, id);
create or replace function refuse_audit_change() returns trigger language plpgsql as $$
begin
    raise exception 'audit_log is append-only: % refused', tg_op using errcode = 'insufficient_privilege';
end
$$;
create trigger audit_rows before update or delete on audit_log
    for each row execute function refuse_audit_change();
create trigger audit_truncate before truncate on audit_log
    for each statement execute function refuse_audit_change();
