-- migrate:up

-- A sweep of the kill switch names what has ended since the switch was engaged: a former try may have died unheard.
create index orders_final on orders (final_at) where final_at is not null;

-- migrate:down

drop index orders_final;
