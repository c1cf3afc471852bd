-- migrate:up

-- What risk approved as the stop of an entry; legs carry theirs in stop_price.
alter table orders add column hard_stop_loss numeric check (hard_stop_loss > 0);
alter table decisions add column hard_stop_loss numeric check (hard_stop_loss > 0);

-- One approval buys one order per leg and generation: a leg's next order follows the proved end of the former.
alter table approval_bindings add column generation integer not null default 0 check (generation >= 0);
alter table approval_bindings drop constraint approval_bindings_pkey;
alter table approval_bindings add primary key (approval_id, leg, generation);

-- Shares that must not be without their stop: from the end of an entry until all of them are closed.
create table protections (
    signal_id text primary key references signals,
    strategy text not null,
    ticker text not null,
    action text not null check (action in ('SELL_TO_CLOSE', 'BUY_TO_CLOSE')), -- what its legs do
    stop_price numeric not null check (stop_price > 0),
    given_up numeric not null default 0 check (given_up >= 0), -- shares that closing signals have taken
    exiting boolean not null default false, -- the price went through the stop: sell or cover now
    obstacle text check (obstacle in ('WASH', 'THROUGH', 'HELD', 'OTHER')), -- the broker's newest refusal
    obstacle_detail text,
    refusals integer not null default 0, -- since it was last covered
    retry_at timestamptz,
    uncovered_since timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    closed_at timestamptz
);
create index protections_open on protections (ticker) where closed_at is null;
create index orders_legs on orders (signal_id) where leg <> 'entry';

-- migrate:down

drop index orders_legs;
drop table protections;
alter table approval_bindings drop constraint approval_bindings_pkey;
alter table approval_bindings drop column generation;
alter table approval_bindings add primary key (approval_id, leg);
alter table decisions drop column hard_stop_loss;
alter table orders drop column hard_stop_loss;
