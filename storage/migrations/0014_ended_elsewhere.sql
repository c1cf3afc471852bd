-- migrate:up

-- Entries that ended outside their workflow: it is told until it has heard.
create index orders_ended_untold on orders (updated_at)
    where signalled_version < row_version and settled_at is not null
        and leg = 'entry' and status = 'FATAL_ERROR' and broker_order_id is not null;

-- migrate:down

drop index orders_ended_untold;
