-- migrate:up

-- An order that was replaced or restated at the broker: what it is for now where that is not what we asked, and the
-- broker ids it had before, as late executions still name them.
alter table orders add column broker_quantity numeric check (broker_quantity > 0);
alter table orders add column predecessors text[] not null default '{}';
create index orders_predecessors on orders using gin (predecessors);
create index orders_replaced_by on orders (replaced_by) where replaced_by is not null;

-- A correction under its own id names the execution whose place it takes.
alter table executions add column corrects text;

-- migrate:down

alter table executions drop column corrects;
drop index orders_replaced_by, orders_predecessors;
alter table orders drop column predecessors, drop column broker_quantity;
