-- migrate:up

-- What Temporal says of the builds of our versioned processes: operations look, `trading status` shows it.
create table builds (
    deployment text not null,
    build_id text not null,
    state text not null check (state in ('CURRENT', 'RAMPING', 'DRAINING', 'DRAINED', 'INACTIVE')),
    since timestamptz,
    ramp_percent integer not null default 0,
    open_workflows integer not null default 0,
    attended boolean not null default true,
    seen_at timestamptz not null,
    primary key (deployment, build_id)
);

-- migrate:down

drop table builds;
