-- migrate:up

-- How far each share of the account's requests is used up (GCRA): before `full_at` some of its burst is in use.
create table rate_budget (
    share text primary key check (share in ('orders', 'reads', 'stops')),
    full_at timestamptz not null default 'epoch',
    paused_until timestamptz, -- the broker has said 429: nobody asks before
    granted integer not null default 0 -- at the last asking
);
insert into rate_budget (share) values ('orders'), ('reads'), ('stops');

-- Whether the broker is given up on for now: no order leaves while it is.
create table broker_halt (
    singleton boolean primary key default true check (singleton),
    is_open boolean not null default false,
    failures integer not null default 0, -- in a row, of every process
    cause text,
    changed_at timestamptz,
    probed_at timestamptz
);
insert into broker_halt default values;

-- Strategies whose order the account could not pay for.
create table funds_refusals (
    strategy text primary key,
    signal_id text not null,
    client_order_id text not null,
    needed numeric not null check (needed > 0), -- US dollars
    refused_at timestamptz not null,
    covered_at timestamptz
);

-- migrate:down

drop table funds_refusals, broker_halt, rate_budget;
