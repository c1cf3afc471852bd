-- migrate:up

-- What a person must hear of, for as long as it lasts. A cleared one that comes again is raised anew.
create table alerts (
    alert_id text primary key,
    code text not null,
    severity text not null check (severity in ('critical', 'high', 'medium')),
    subject text not null,
    text text not null,
    correlation_id text not null,
    raised_at timestamptz not null,
    last_raised_at timestamptz not null,
    times integer not null default 1,
    cleared_at timestamptz
);
create index alerts_open on alerts (raised_at) where cleared_at is null;

-- migrate:down

drop table alerts;
