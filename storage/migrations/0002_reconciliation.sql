-- migrate:up

-- One reconciliation: what was found, and what became of it. Open while outcome is null.
create table reconciliations (
    run_id text primary key,
    trigger text not null,
    outcome text check (outcome in ('CLEAN', 'OPENED', 'DRIFT', 'UNSETTLED', 'FAILED')),
    started_at timestamptz not null,
    read_at timestamptz, -- our wall clock as the deciding reading began
    market_at timestamptz, -- the market's clock then: every execution up to here is in the books
    finished_at timestamptz,
    findings jsonb not null default '[]',
    drift numeric not null default 0,
    equity numeric,
    left_out integer not null default 0,
    booked integer not null default 0,
    kill text not null default 'none' check (kill in ('none', 'due', 'done')),
    detail text not null default '',
    check ((outcome is null) = (finished_at is null)),
    -- Only what was read can be good: orders go on because of it.
    check (outcome not in ('CLEAN', 'OPENED', 'DRIFT') or (read_at is not null and market_at is not null))
);
create index reconciliations_finished on reconciliations (finished_at desc);
create index reconciliations_good on reconciliations (read_at desc)
    where outcome in ('CLEAN', 'OPENED', 'DRIFT');
create index reconciliations_kill on reconciliations (run_id) where kill = 'due';

-- What the broker said, kept until its run is over: an overwrite acts on rows, never on an argument.
create table broker_readings (
    run_id text not null references reconciliations,
    number integer not null,
    taken_at timestamptz not null,
    state jsonb not null,
    comparison jsonb not null,
    primary key (run_id, number)
);

-- Every change of shares or cash that is no execution of an order of ours. Books = executions + journal.
create table journal (
    entry_id bigint generated always as identity primary key,
    run_id text references reconciliations,
    cause text not null check (cause in ('OPENING', 'RESIDUAL', 'REVERSAL', 'EXTERNAL_FILL', 'ACTIVITY')),
    ticker text not null, -- $CASH: cash that belongs to no share
    strategy text not null,
    quantity numeric not null,
    cash numeric not null,
    price numeric, -- what the shares were booked at
    before numeric not null, -- the account's shares of the ticker, or its cash
    after numeric not null,
    activity_id text,
    reverses bigint references journal,
    snapshot_at timestamptz not null, -- on the market's clock
    detail text not null,
    recorded_at timestamptz not null,
    unique (activity_id, strategy),
    check ((cause = 'REVERSAL') = (reverses is not null))
);
create index journal_reversible on journal (ticker, snapshot_at) where cause in ('OPENING', 'RESIDUAL');
create index journal_reversals on journal (reverses) where reverses is not null;

create function refuse_journal_change() returns trigger language plpgsql as $$
begin
    raise exception 'journal is append-only: % refused', tg_op using errcode = 'insufficient_privilege';
end
$$;
create trigger journal_rows before update or delete on journal
    for each row execute function refuse_journal_change();
create trigger journal_truncate before truncate on journal
    for each statement execute function refuse_journal_change();

-- Orders at the broker that none of ours made. They count in exposure while they are open.
create table external_orders (
    broker_order_id text primary key,
    client_order_id text not null,
    ticker text not null,
    side text not null check (side in ('buy', 'sell')),
    remaining numeric not null,
    price numeric,
    raw_status text not null,
    first_seen_at timestamptz not null,
    seen_at timestamptz not null,
    ended_at timestamptz,
    document jsonb not null
);
create index external_orders_open on external_orders (ticker) where ended_at is null;

create index executions_executed on executions (executed_at);

-- When the update stream was last silent for longer than a minute, and came back.
alter table trade_stream add column gap_ended_at timestamptz;

-- migrate:down

alter table trade_stream drop column gap_ended_at;
drop index executions_executed;
drop table external_orders, journal, broker_readings, reconciliations;
drop function refuse_journal_change;
