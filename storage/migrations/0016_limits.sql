-- migrate:up

-- Limits of one strategy or ticker beside the account's, and raises that expire. `version` stays one count over all.
alter table limits
    add column scope text not null default 'account' check (scope in ('account', 'strategy', 'ticker')),
    add column name text not null default '',
    add column expires_at timestamptz check (expires_at > created_at),
    add check ((scope = 'account') = (name = ''));
create unique index limits_scope on limits (scope, name, version);

-- The row that counts for one scope: the newest, or if that is a raise which is over, the newest that lasts.
-- A newer row so ends a raise at once, and a raise that was ended never comes back.
create function limits_in_force(of_scope text, of_name text, instant timestamptz) returns setof limits
language sql stable as $$
    select l.* from limits l
    where l.scope = of_scope and l.name = of_name and (
        l.expires_at is null
        or (l.expires_at > instant and not exists (
            select from limits n where n.scope = of_scope and n.name = of_name and n.version > l.version
        ))
    )
    order by l.version desc
    limit 1
$$;

-- Limits of before these fields get a careful value for each, so that an upgraded installation starts.
with latest as (
    select document from limits order by version desc limit 1
), added as (
    select '{
        "max_daily_loss_pct": "5", "max_drawdown_pct": "15", "max_open_orders": 200,
        "max_orders_per_minute": 120, "max_strategy_orders_per_minute": 60, "max_repeated_executions": 20,
        "repeated_executions_window_seconds": 60, "duplicate_window_seconds": 10
    }'::jsonb as document
), completed as (
    insert into limits (document, author, reason, created_at)
    select added.document || latest.document, 'migration 0016',
        'limits that this release asks for and the last version lacked, with the values of a first start', now()
    from latest, added
    where not latest.document ?& array(select jsonb_object_keys(added.document))
    returning version, created_at
), told as (
    select created_at, '{"detail":"limits completed with the values of a first start","version":' || version || '}' as input
    from completed
)
insert into audit_log
    (occurred_at, correlation_id, component, actor, input_hash, decision, checks, refs, payload)
select created_at, 'limits', 'Migration', 'migration 0016', encode(sha256(convert_to(input, 'UTF8')), 'hex'),
    'LIMITS_SET', '[]', '[]', input::jsonb
from told;

-- migrate:down

-- Before these columns the newest row counts, whatever it is of.
insert into limits (document, author, reason, created_at)
select document, author, reason, now() from limits
where scope = 'account' and expires_at is null
order by version desc limit 1;
drop function limits_in_force;
drop index limits_scope;
alter table limits drop column scope, drop column name, drop column expires_at;
