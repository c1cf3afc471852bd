-- name: lines
-- Everything in its order; what is rebuilt from them is judged beside rows of the same snapshot.
select id, occurred_at, correlation_id, decision, payload
from audit_log left join audit_payloads on audit_id = id
order by id

-- name: orders
select signal_id, leg, generation, internal_order_id, client_order_id, broker_order_id, predecessors, strategy, ticker,
    status, settled_at is not null as settled, coalesce(broker_quantity, quantity) as quantity, filled_quantity, request
from orders
order by signal_id, leg, generation

-- name: fills
select o.signal_id, o.leg, o.generation, e.execution_id, e.activity_id, e.broker_order_id, e.ticker, e.side,
    e.quantity, e.price, e.cumulative_quantity, e.executed_at, e.busted, e.corrects
from executions e join orders o using (internal_order_id)
order by e.id
