-- migrate:up

-- Tickers in which nothing new may be opened. Each lock has its own setter and end; a ticker is locked while any of
-- its locks holds, so that nobody ends another's lock by setting one.
create table symbol_locks (
    lock_id uuid primary key,
    ticker text not null,
    locked_at timestamptz not null,
    -- Null: until a person lifts it.
    until timestamptz check (until > locked_at),
    reason text not null check (reason <> ''),
    locked_by text not null check (locked_by <> ''),
    -- The account of who set it; null: from the command line.
    person_id uuid,
    lifted_at timestamptz,
    lifted_by text check (lifted_by <> ''),
    lift_reason text check (lift_reason <> ''),
    check ((lifted_at is null) = (lifted_by is null) and (lifted_at is null) = (lift_reason is null))
);
create index symbol_locks_of_ticker on symbol_locks (ticker) where lifted_at is null;

-- Acts that one person asks for and another carries out. What exactly is asked stands as the text that is hashed.
create table approvals_asked (
    approval_id uuid primary key,
    kind text not null check (kind in ('limit_raise', 'live_grant')),
    content text not null,
    content_hash text not null check (content_hash = encode(sha256(convert_to(content, 'UTF8')), 'hex')),
    reason text not null check (reason <> ''),
    -- Null: asked for from the command line, where nobody is known by an account. One who has one takes it up.
    asked_by uuid,
    asked_name text not null check (asked_name <> ''),
    asked_at timestamptz not null,
    expires_at timestamptz not null check (expires_at > asked_at and expires_at <= asked_at + interval '15 minutes'),
    state text not null default 'asked' check (state in ('asked', 'carried_out', 'declined', 'withdrawn')),
    decided_by uuid,
    decided_name text check (decided_name <> ''),
    decided_at timestamptz,
    check ((state = 'asked') = (decided_at is null)),
    check ((decided_at is null) = (decided_name is null) and (decided_at is null) = (decided_by is null)),
    -- Nobody decides what he has asked for himself; only he withdraws it.
    check (state = 'asked' or (state = 'withdrawn') = (asked_by is not distinct from decided_by)),
    check (state <> 'carried_out' or (asked_by is not null and decided_at < expires_at))
);
create index approvals_asked_open on approvals_asked (asked_at) where state = 'asked';

create function keep_asked_approval() returns trigger language plpgsql set search_path from current as $$
begin
    if old.state <> 'asked' then
        raise exception 'this approval was decided already' using errcode = 'integrity_constraint_violation';
    end if;
    if old.asked_by is not null and new.asked_by is distinct from old.asked_by then
        raise exception 'who asked for an approval stays' using errcode = 'integrity_constraint_violation';
    end if;
    return new;
end
$$;
create trigger approvals_asked_kept before update on approvals_asked
    for each row execute function keep_asked_approval();

-- Whether raises of limits need two persons on paper too: said with the owner's rights, so that no role of a
-- process can take it back.
create table approval_rule (
    singleton boolean primary key default true check (singleton),
    always boolean not null default false
);
insert into approval_rule default values;

-- What a person had closed: the very signal that was given to the gateway, so that giving it again is the same one.
create table closing_requests (
    signal_id text primary key,
    document text not null,
    ticker text not null,
    strategy text not null,
    asked_at timestamptz not null,
    asked_by text not null check (asked_by <> ''),
    person_id uuid not null,
    reason text not null check (reason <> '')
);
create index closing_requests_asked on closing_requests (asked_at);

alter table alerts
    add column acknowledged_at timestamptz,
    add column acknowledged_by text,
    -- Nobody is told of it before then; it is shown all the same.
    add column silenced_until timestamptz,
    add column silenced_by text,
    add column silence_reason text;
create index alerts_silenced on alerts (silenced_until) where silenced_until is not null;

-- As before, but nothing begins to be told in a silence, and what waits to be told when one begins is not. An end is
-- for whoever was told of the beginning.
create or replace function queue_alert_deliveries() returns trigger language plpgsql
    security definer set search_path from current as $$
declare
    told text;
    ranks constant text[] := array['medium', 'high', 'critical'];
begin
    if tg_op = 'UPDATE' and new.silenced_until > coalesce(old.silenced_until, '-infinity') then
        delete from alert_deliveries d
        where d.alert_id = new.alert_id and d.state = 'due' and d.change <> 'cleared';
        return null;
    end if;
    if new.cleared_at is null and (tg_op = 'INSERT' or old.cleared_at is not null) then
        told := 'raised';
    elsif new.cleared_at is null
        and array_position(ranks, new.severity) > array_position(ranks, old.severity) then
        told := 'worse';
    elsif new.cleared_at is not null and tg_op = 'UPDATE' and old.cleared_at is null then
        told := 'cleared';
    else
        return null;
    end if;
    -- What has become critical is told of whatever was said of it before.
    if told <> 'cleared' and new.silenced_until > new.last_raised_at
        and not (told = 'worse' and new.severity = 'critical') then
        return null;
    end if;
    insert into alert_deliveries (
        alert_id, channel, change, code, severity, subject, text, correlation_id, raised_at, changed_at
    )
    select new.alert_id, c.channel, told, new.code, new.severity, new.subject, new.text, new.correlation_id,
        new.raised_at, coalesce(new.cleared_at, new.last_raised_at)
    from alert_channels c
    where case
        when told <> 'cleared' then new.severity = any (c.severities)
        else cardinality(c.severities) > 0 and exists (
            select from alert_deliveries d
            where d.alert_id = new.alert_id and d.channel = c.channel and d.raised_at = new.raised_at
        )
    end
    order by c.channel;
    return null;
end
$$;

-- migrate:down

drop index alerts_silenced;
alter table alerts
    drop column acknowledged_at, drop column acknowledged_by, drop column silenced_until,
    drop column silenced_by, drop column silence_reason;
drop table closing_requests;
drop table approval_rule;
drop table approvals_asked;
drop function keep_asked_approval;
drop table symbol_locks;
-- The trigger's function as it was: a silence is nothing that an earlier release knows of.
create or replace function queue_alert_deliveries() returns trigger language plpgsql
    security definer set search_path from current as $$
declare
    told text;
    ranks constant text[] := array['medium', 'high', 'critical'];
begin
    if new.cleared_at is null and (tg_op = 'INSERT' or old.cleared_at is not null) then
        told := 'raised';
    elsif new.cleared_at is null
        and array_position(ranks, new.severity) > array_position(ranks, old.severity) then
        told := 'worse';
    elsif new.cleared_at is not null and tg_op = 'UPDATE' and old.cleared_at is null then
        told := 'cleared';
    else
        return null;
    end if;
    insert into alert_deliveries (
        alert_id, channel, change, code, severity, subject, text, correlation_id, raised_at, changed_at
    )
    select new.alert_id, c.channel, told, new.code, new.severity, new.subject, new.text, new.correlation_id,
        new.raised_at, coalesce(new.cleared_at, new.last_raised_at)
    from alert_channels c
    where case
        when told <> 'cleared' then new.severity = any (c.severities)
        else cardinality(c.severities) > 0 and exists (
            select from alert_deliveries d
            where d.alert_id = new.alert_id and d.channel = c.channel and d.raised_at = new.raised_at
        )
    end
    order by c.channel;
    return null;
end
$$;
