-- name: open_run
insert into reconciliations (run_id, trigger, started_at) values ($1, $2, $3)
on conflict (run_id) do nothing

-- name: read_run
select * from reconciliations where run_id = $1

-- name: carry_findings
update reconciliations set findings = $2::jsonb, drift = $3, equity = $4, market_at = $5
where run_id = $1 and outcome is null

-- name: left_open
select run_id, trigger from reconciliations
where outcome is null and started_at < $1 and findings <> '[]'
order by started_at

-- name: finish_run
insert into reconciliations (
    run_id, trigger, outcome, started_at, read_at, market_at, finished_at, findings, drift, equity, left_out,
    booked, kill, detail
) values ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10, $11, $12, $13, $14)
on conflict (run_id) do update set
    outcome = excluded.outcome, read_at = excluded.read_at, market_at = excluded.market_at,
    finished_at = excluded.finished_at, findings = excluded.findings, drift = excluded.drift,
    equity = excluded.equity, left_out = excluded.left_out, booked = excluded.booked, kill = excluded.kill,
    detail = excluded.detail
where reconciliations.outcome is null
returning run_id

-- name: list_runs
select * from reconciliations where outcome is not null order by finished_at desc limit $1

-- name: last_good
select read_at, market_at, finished_at from reconciliations
where outcome in ('CLEAN', 'OPENED', 'DRIFT')
order by read_at desc
limit 1

-- name: readiness
select r.read_at, r.finished_at, s.last_seen_at, s.gap_ended_at,
    exists (select from reconciliations where kill = 'due')
        or exists (select from kill_requests where done_at is null) as kill_due
from trade_stream s
left join lateral (
    select read_at, finished_at from reconciliations
    where outcome in ('CLEAN', 'OPENED', 'DRIFT')
    order by read_at desc
    limit 1
) r on true

-- name: save_broker_side
insert into broker_side (run_id, read_at, cash, equity, holdings) values ($1, $2, $3, $4, $5::jsonb)
on conflict (singleton) do update set
    run_id = excluded.run_id, read_at = excluded.read_at, cash = excluded.cash, equity = excluded.equity,
    holdings = excluded.holdings
where broker_side.read_at <= excluded.read_at

-- name: read_broker_side
select run_id, read_at, cash, equity, holdings from broker_side

-- name: overwritten
-- What reconciliations have written into the books beside executions, newest first.
select run_id, cause, ticker, strategy, quantity, cash, before, after, detail, recorded_at
from journal
order by entry_id desc
limit $1

-- name: save_reading
insert into broker_readings (run_id, number, taken_at, state, comparison)
values ($1, $2, $3, $4::jsonb, $5::jsonb)
on conflict (run_id, number) do update set
    taken_at = excluded.taken_at, state = excluded.state, comparison = excluded.comparison

-- name: read_reading
select taken_at, state, comparison from broker_readings where run_id = $1 and number = $2

-- name: drop_readings
delete from broker_readings r using reconciliations c
where c.run_id = r.run_id and (c.run_id = $1 or c.outcome is not null or r.taken_at < $2)

-- name: take_kill
update reconciliations set kill = 'done' where run_id = $1 and kill = 'due' returning run_id

-- name: kills_due
select run_id from reconciliations where kill = 'due' order by run_id

-- name: own_orders
select signal_id, leg, broker_order_id, client_order_id, status, updated_at
from orders
where broker_order_id = any ($1::text[]) or client_order_id = any ($2::text[])
    or internal_order_id in (select internal_order_id from executions where broker_order_id = any ($1::text[]))

-- name: own_executed
select distinct broker_order_id from executions where broker_order_id = any ($1::text[])

-- name: open_here
select signal_id, leg, broker_order_id, client_order_id, ticker, action, quantity, status, updated_at
from orders
where settled_at is null and broker_order_id is not null
    and status not in ('FILLED', 'CANCELED', 'REJECTED', 'FATAL_ERROR')
order by created_at
limit $1

-- name: external_known
select broker_order_id from external_orders where broker_order_id = any ($1::text[])

-- name: external_open
select broker_order_id from external_orders where ended_at is null order by broker_order_id

-- name: save_external
insert into external_orders (
    broker_order_id, client_order_id, ticker, side, remaining, price, raw_status, first_seen_at, seen_at, document
) values ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9::jsonb)
on conflict (broker_order_id) do update set
    remaining = excluded.remaining, price = excluded.price, raw_status = excluded.raw_status,
    seen_at = excluded.seen_at, ended_at = null, document = excluded.document

-- name: end_external
update external_orders set ended_at = $2
where ended_at is null and broker_order_id <> all ($1::text[])
