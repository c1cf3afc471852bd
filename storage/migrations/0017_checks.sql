-- migrate:up

-- The highest equity read, which only a person or money that comes and goes lowers. settled_peak is what it was
-- when every transfer was known to be booked; transfers are those that last_equity does not
-- have in it.
alter table account
    add column peak_equity numeric,
    add column peak_at timestamptz,
    add column settled_peak numeric,
    add column transfers numeric not null default 0;
update account set peak_equity = equity, peak_at = taken_at, settled_peak = equity;

-- Strategies that may open nothing. A row ends when a named person says that the strategy may trade again.
create table strategy_stops (
    id bigint generated always as identity primary key,
    strategy text not null,
    since timestamptz not null,
    cause text not null check (cause in ('REPEATED_EXECUTIONS', 'RUNAWAY_RATE', 'BY_HAND')),
    reason text not null check (reason <> ''),
    stopped_by text not null check (stopped_by <> ''),
    evidence jsonb not null,
    enabled_at timestamptz,
    enabled_by text check (enabled_by <> ''),
    enable_reason text check (enable_reason <> ''),
    check ((enabled_at is null) = (enabled_by is null) and (enabled_at is null) = (enable_reason is null))
);
create unique index strategy_stops_open on strategy_stops (strategy) where enabled_at is null;
create index strategy_stops_strategy on strategy_stops (strategy, enabled_at);

-- Who may not engage the kill switch asks for it here; operations carry it out, once.
create table kill_requests (
    request_id text primary key,
    reason text not null,
    triggered_by text not null,
    requested_at timestamptz not null,
    evidence jsonb not null,
    done_at timestamptz
);
create index kill_requests_due on kill_requests (requested_at) where done_at is null;

-- A loss over its limit, from the first reading that shows it to the first that does not.
create table equity_breaches (
    kind text primary key check (kind in ('MAX_DAILY_LOSS_EXCEEDED', 'MAX_DAILY_DRAWDOWN_EXCEEDED')),
    first_read_at timestamptz not null,
    detail text not null,
    confirmed_at timestamptz
);

create index decisions_decided on decisions (decided_at);

-- migrate:down

drop index decisions_decided;
drop table equity_breaches, kill_requests, strategy_stops;
alter table account
    drop column peak_equity, drop column peak_at, drop column settled_peak, drop column transfers;
