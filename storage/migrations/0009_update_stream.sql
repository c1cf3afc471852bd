-- migrate:up

-- Since when the broker counts shares of which no execution has come.
alter table orders add column fills_missing_since timestamptz;
create index orders_fills_missing on orders (fills_missing_since) where fills_missing_since is not null;

-- When the sweeper last saw to it that the order has a running workflow; null: never, or that is known to be gone.
alter table orders add column workflow_checked_at timestamptz;
create index orders_workflow_checked on orders (workflow_checked_at nulls first) where settled_at is null;

-- A settled order is not signalled any more: without this the index would hold every order there ever was.
drop index orders_unsignalled;
create index orders_unsignalled on orders (updated_at)
    where signalled_version < row_version and settled_at is null;

-- When the stream last brought an update, and when an execution was found that it should have brought.
alter table trade_stream add column last_update_at timestamptz;
alter table trade_stream add column doubted_at timestamptz;
-- When all open orders were last compared with the broker's list of them.
alter table trade_stream add column orders_listed_at timestamptz;

-- Messages of the broker that may change no order and are told of once all the same.
create table noted_messages (
    message_key text primary key,
    internal_order_id uuid not null references orders,
    noted_at timestamptz not null
);

-- migrate:down

drop table noted_messages;
alter table trade_stream drop column orders_listed_at, drop column doubted_at, drop column last_update_at;
drop index orders_unsignalled;
create index orders_unsignalled on orders (updated_at) where signalled_version < row_version;
drop index orders_workflow_checked;
alter table orders drop column workflow_checked_at;
drop index orders_fills_missing;
alter table orders drop column fills_missing_since;
