-- migrate:up

-- What the account was worth, for people who look at a curve: the first reading of each minute. US dollars.
create table equity_history (
    minute timestamptz primary key,
    equity numeric not null,
    session_equity numeric, -- at the close before the session, with the day's transfers
    peak_equity numeric
);

-- What the broker held when a reconciliation last ended well, to be shown beside our own books.
create table broker_side (
    singleton boolean primary key default true check (singleton),
    run_id text not null references reconciliations,
    read_at timestamptz not null,
    cash numeric not null,
    equity numeric not null,
    holdings jsonb not null
);

-- The blotter's pages, newest first, and the moves of one ticker.
create index orders_newest on orders (created_at desc, internal_order_id);

-- A person may read what a strategy said of one signal. The rest of the document stays the gateway's.
create function strategys_words(wanted text, out rationale text, out sources text[]) language sql stable
    security definer set search_path from current as $$
    select s.document ->> 'rationale',
        array(select jsonb_array_elements_text(coalesce(nullif(s.document -> 'references', 'null'), '[]')))
    from signals s where s.signal_id = wanted
$$;

revoke all on function strategys_words(text) from public;

-- migrate:down

drop function strategys_words;
drop index orders_newest;
drop table broker_side;
drop table equity_history;
