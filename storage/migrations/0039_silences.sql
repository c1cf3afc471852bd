-- migrate:up

-- As before, but a silence drops only what nobody has begun to send. What was tried, or is on its way, may have been
-- taken by its receiver: without its row the end would be told to nobody, and an incident stay open for ever.
create or replace function queue_alert_deliveries() returns trigger language plpgsql
    security definer set search_path from current as $$
declare
    told text;
    ranks constant text[] := array['medium', 'high', 'critical'];
begin
    if tg_op = 'UPDATE' and new.silenced_until > coalesce(old.silenced_until, '-infinity') then
        delete from alert_deliveries d
        where d.alert_id = new.alert_id and d.state = 'due' and d.change <> 'cleared' and d.tries = 0;
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
