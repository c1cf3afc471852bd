-- migrate:up

-- One installation serves one (account, mode). The namespace makes client order ids ours alone.
create table installation (
    singleton boolean primary key default true check (singleton),
    namespace uuid not null,
    account text,
    mode text check (mode in ('paper', 'live')),
    bound_at timestamptz,
    check ((account is null) = (mode is null))
);
insert into installation (namespace) values (gen_random_uuid());

create table api_tokens (
    token_id uuid primary key,
    name text not null unique,
    strategy text,
    token_hash bytea not null unique,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz
);

create table operator_keys (
    key_id text primary key,
    public_key bytea not null,
    person text not null,
    created_at timestamptz not null,
    revoked_at timestamptz
);

create table limits (
    version integer generated always as identity primary key,
    document jsonb not null,
    author text not null check (author <> ''),
    reason text not null check (reason <> ''),
    created_at timestamptz not null
);

-- The account row is the lock under which every risk decision is made.
create table account (
    singleton boolean primary key default true check (singleton),
    equity numeric,
    last_equity numeric,
    cash numeric,
    buying_power numeric,
    taken_at timestamptz,
    document jsonb
);
insert into account default values;

-- How the market's clock stood to ours, told by the broker.
create table market_clock (
    singleton boolean primary key default true check (singleton),
    read_at timestamptz not null,
    broker_at timestamptz not null,
    speed double precision not null check (speed > 0),
    is_open boolean not null,
    next_open timestamptz not null,
    next_close timestamptz not null
);

create table latest_quotes (
    ticker text not null,
    provider text not null,
    bid numeric,
    ask numeric,
    bid_size numeric,
    ask_size numeric,
    quoted_at timestamptz not null,
    received_at timestamptz not null,
    primary key (ticker, provider)
);

-- What a strategy asked, as it asked. The columns are what risk and execution may read; the free text
-- stays in the document.
create table signals (
    signal_id text primary key check (signal_id ~ '^[A-Za-z0-9._-]{1,64}$'),
    token_id uuid not null references api_tokens,
    content_hash bytea not null,
    document jsonb not null,
    strategy text not null,
    ticker text not null,
    action text not null,
    order_type text not null,
    time_in_force text not null,
    quantity numeric not null check (quantity > 0),
    limit_price numeric check (limit_price > 0),
    hard_stop_loss numeric check (hard_stop_loss > 0),
    extended_hours boolean not null,
    created_at timestamptz not null,
    valid_until timestamptz not null,
    received_at timestamptz not null,
    traceparent text
);
create index signals_received on signals (received_at desc, signal_id);
create index signals_token on signals (token_id, received_at desc);

create table orders (
    internal_order_id uuid primary key,
    signal_id text not null references signals,
    leg text not null check (leg in ('entry', 'stop', 'exit')),
    generation integer not null check (generation >= 0),
    strategy text not null,
    ticker text not null,
    action text not null,
    order_type text not null,
    time_in_force text not null,
    extended_hours boolean not null,
    quantity numeric not null check (quantity > 0),
    limit_price numeric check (limit_price > 0),
    client_order_id text unique,
    broker_order_id text unique,
    request jsonb,
    status text not null,
    flags text[] not null default '{}',
    raw_status text,
    filled_quantity numeric not null default 0,
    average_price numeric,
    broker_filled_quantity numeric not null default 0,
    execution_count integer not null default 0,
    reason text,
    user_message text,
    replaced_by text,
    pre_trade_at timestamptz,
    post_count integer not null default 0 check (post_count between 0 and 3),
    post_open boolean not null default false,
    first_post_at timestamptz, -- on the market's clock
    acknowledged_at timestamptz,
    posting_deadline timestamptz,
    absent_lookups integer not null default 0,
    absent_since timestamptz,
    absent_proved_posts integer not null default 0,
    identity_conflict text,
    id_taken boolean not null default false, -- the broker said so: it holds an order under our id
    cancel_requested_by text,
    row_version bigint not null default 1,
    signalled_version bigint not null default 0,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    final_at timestamptz,
    settled_at timestamptz,
    unique (signal_id, leg, generation),
    check (post_count = 0 or client_order_id is not null),
    check (filled_quantity >= 0)
);
create index orders_open on orders (created_at) where settled_at is null;
create index orders_unsignalled on orders (updated_at) where signalled_version < row_version;
create index orders_posting on orders (posting_deadline) where post_open;
create index orders_ticker on orders (ticker) where settled_at is null;

create table decisions (
    signal_id text not null,
    leg text not null,
    generation integer not null,
    approval_id uuid unique,
    approved boolean not null,
    reasons text[] not null,
    checks jsonb not null,
    quantity numeric not null,
    limit_price numeric not null,
    account_exposure_pct numeric not null,
    limits_version integer not null references limits,
    kill_epoch bigint not null,
    decided_at timestamptz not null,
    expires_at timestamptz not null,
    user_message text,
    primary key (signal_id, leg, generation),
    foreign key (signal_id, leg, generation) references orders (signal_id, leg, generation),
    check (approved = (approval_id is not null))
);

-- One approval buys one order per leg, for ever.
create table approval_bindings (
    approval_id uuid not null references decisions (approval_id),
    leg text not null,
    client_order_id text not null unique,
    bound_at timestamptz not null,
    primary key (approval_id, leg)
);

create table reservations (
    signal_id text not null,
    leg text not null,
    generation integer not null,
    strategy text not null,
    ticker text not null,
    side text not null check (side in ('buy', 'sell')),
    quantity numeric not null check (quantity >= 0),
    price numeric not null check (price > 0),
    state text not null check (state in ('held', 'working', 'released', 'lapsed')),
    created_at timestamptz not null,
    lapses_at timestamptz not null,
    ended_at timestamptz,
    primary key (signal_id, leg, generation),
    foreign key (signal_id, leg, generation) references orders (signal_id, leg, generation)
);
create index reservations_live on reservations (ticker) where state in ('held', 'working');

-- Every execution, once. The stream names it by execution_id, the activity list by activity_id.
create table executions (
    id bigint generated always as identity primary key,
    internal_order_id uuid not null references orders,
    execution_id text unique,
    activity_id text unique,
    broker_order_id text not null,
    strategy text not null,
    ticker text not null,
    side text not null check (side in ('buy', 'sell')),
    quantity numeric not null check (quantity > 0),
    price numeric not null check (price > 0),
    cumulative_quantity numeric not null,
    executed_at timestamptz not null,
    recorded_at timestamptz not null,
    busted boolean not null default false,
    check (execution_id is not null or activity_id is not null)
);
create index executions_order on executions (internal_order_id);
create index executions_recorded on executions (recorded_at);

-- Shares and cash per ticker and strategy: the sum of executions, kept in their transactions.
create table positions (
    ticker text not null,
    strategy text not null,
    quantity numeric not null,
    cash numeric not null,
    updated_at timestamptz not null,
    primary key (ticker, strategy)
);

create table trade_stream (
    singleton boolean primary key default true check (singleton),
    connected_at timestamptz,
    last_seen_at timestamptz,
    disconnected_at timestamptz,
    fill_cursor timestamptz,
    last_catch_up_at timestamptz
);
insert into trade_stream default values;

create table kill_switch (
    singleton boolean primary key default true check (singleton),
    engaged boolean not null,
    epoch bigint not null,
    scope text not null check (scope in ('all', 'risk_adding')),
    reason text,
    triggered_by text,
    changed_at timestamptz,
    request_id text, -- of the newest activation: its repeat is no second one
    swept_at timestamptz,
    sweep_confirmed boolean not null default true,
    sweep jsonb
);
insert into kill_switch (engaged, epoch, scope) values (false, 0, 'all');

create table kill_releases (
    nonce text primary key,
    epoch bigint not null unique,
    person text not null,
    reason text not null,
    key_id text not null references operator_keys,
    released_at timestamptz not null
);

-- The outbox: written in the transaction that changes the state; numbered by the relay.
create table events (
    event_id text primary key,
    topic text not null,
    key text not null,
    payload jsonb not null,
    occurred_at timestamptz not null,
    position bigint unique
);
create index events_unnumbered on events (occurred_at) where position is null;
create index events_key on events (key, occurred_at);

create table audit_log (
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
create index audit_correlation on audit_log (correlation_id, id);

create function refuse_audit_change() returns trigger language plpgsql as $$
begin
    raise exception 'audit_log is append-only: % refused', tg_op using errcode = 'insufficient_privilege';
end
$$;
create trigger audit_rows before update or delete on audit_log
    for each row execute function refuse_audit_change();
create trigger audit_truncate before truncate on audit_log
    for each statement execute function refuse_audit_change();

-- migrate:down

drop table audit_log, events, kill_releases, kill_switch, trade_stream, positions, executions, reservations,
    approval_bindings, decisions, orders, signals, latest_quotes, market_clock, account, limits, operator_keys,
    api_tokens, installation;
drop function refuse_audit_change;
