-- migrate:up

-- Where alerts are told of beside their rows, and of which severities. The operations say so at their start; a
-- channel without a row, or without severities, is told of nothing.
create table alert_channels (
    channel text primary key check (channel in ('slack', 'pagerduty')),
    severities text[] not null,
    changed_at timestamptz not null
);

-- One message to one channel, with what was the case then. A dead one is kept until a person has it sent again.
create table alert_deliveries (
    delivery_id bigint primary key generated always as identity,
    alert_id text not null references alerts,
    -- Not a reference: who queues must not wait for whoever holds the channel's row.
    channel text not null check (channel in ('slack', 'pagerduty')),
    change text not null check (change in ('raised', 'worse', 'cleared')),
    code text not null,
    severity text not null,
    subject text not null,
    text text not null,
    correlation_id text not null,
    raised_at timestamptz not null,
    changed_at timestamptz not null,
    state text not null default 'due' check (state in ('due', 'sent', 'dead')),
    tries integer not null default 0,
    -- Null: at once. While a process sends it: until when nobody else does.
    next_try_at timestamptz,
    last_error text,
    response text,
    sent_at timestamptz
);
create index alert_deliveries_due on alert_deliveries (channel, delivery_id) where state = 'due';
create index alert_deliveries_dead on alert_deliveries (delivery_id) where state = 'dead';
create index alert_deliveries_of_alert on alert_deliveries (alert_id, channel, raised_at);

-- In the transaction of the alert, whoever writes it: nobody but the operations needs a right here. It takes no lock
-- but those of its own new rows and the one that the writer has on the alert already, and it notifies nobody: a
-- commit that does waits for others that do.
create function queue_alert_deliveries() returns trigger language plpgsql
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
        -- The end is for whoever was told of the beginning.
        else cardinality(c.severities) > 0 and exists (
            select from alert_deliveries d
            where d.alert_id = new.alert_id and d.channel = c.channel and d.raised_at = new.raised_at
        )
    end
    order by c.channel;
    return null;
end
$$;
create trigger alerts_told after insert or update on alerts
    for each row execute function queue_alert_deliveries();

-- Whether the alert about a finished run's differences was raised, and those that it has ended were cleared.
alter table reconciliations add column alerted boolean not null default false;
update reconciliations set alerted = true where outcome is not null;
create index reconciliations_unalerted on reconciliations (finished_at)
    where outcome is not null and not alerted;

-- Pushes of the broker: each counts once, and wakes the catch-up.
create table broker_wakes (
    singleton boolean primary key default true check (singleton),
    wakes bigint not null default 0,
    woken_at timestamptz,
    -- Up to which one a catch-up has begun and come to its end; and when the last one began for them.
    answered bigint not null default 0,
    tried_at timestamptz
);
insert into broker_wakes default values;

-- Signatures that were used, for as long as their time would still be taken.
create table seen_wakes (
    signature bytea primary key,
    signed_at timestamptz not null
);
create index seen_wakes_signed on seen_wakes (signed_at);

-- migrate:down

drop table seen_wakes;
drop table broker_wakes;
drop index reconciliations_unalerted;
alter table reconciliations drop column alerted;
drop trigger alerts_told on alerts;
drop function queue_alert_deliveries;
drop table alert_deliveries;
drop table alert_channels;
