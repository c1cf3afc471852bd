-- migrate:up

-- Where a STOP or STOP_LIMIT order begins to work.
alter table signals add column stop_price numeric check (stop_price > 0);
alter table orders add column stop_price numeric check (stop_price > 0);

-- migrate:down

alter table orders drop column stop_price;
alter table signals drop column stop_price;
