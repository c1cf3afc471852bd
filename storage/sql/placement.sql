-- name: take_fence
select pg_try_advisory_lock_shared($1)

-- name: free_fence
select pg_advisory_unlock_shared($1)

-- name: read_gate
-- The oldest halt of those clocks whose process was heard of within $4: one that is gone asks anew when it starts.
select o.*, h.is_open as halted, h.cause as halt_cause, c.told as wrong_clock
from orders o
cross join broker_halt h
left join lateral (
    select concat(holder, ': ', halt_cause) as told from clock_checks
    where halted_since is not null and checked_at > clock_timestamp() - $4::interval
    order by halted_since limit 1
) c on true
where o.signal_id = $1 and o.leg = $2 and ($3::integer is null or o.generation = $3)
order by o.generation desc
limit 1

-- name: read_basis
select
    k.engaged, k.epoch as switch_epoch,
    s.signal_id, s.strategy, s.ticker, s.action, s.order_type, s.time_in_force, s.quantity, s.limit_price,
    s.stop_price, s.hard_stop_loss, s.extended_hours, s.created_at, s.valid_until, s.received_at,
    not exists (
        select from orders o
        where o.signal_id = s.signal_id and o.leg = 'entry'
            and (o.ticker, o.strategy, o.action, o.order_type, o.time_in_force, o.extended_hours, o.stop_price)
                is distinct from
                (s.ticker, s.strategy, s.action, s.order_type, s.time_in_force, s.extended_hours, s.stop_price)
    ) as as_signalled,
    d.approval_id, d.approved, d.kill_epoch as approved_epoch, d.decided_at, d.expires_at,
    d.quantity as approved_quantity, d.limit_price as approved_price, d.hard_stop_loss as approved_stop,
    d.limits_version, d.approval, d.approval_signature, d.approval_key_id,
    exists (
        select from orders u
        where u.ticker = s.ticker and u.settled_at is null and u.signal_id <> s.signal_id
            and ('outcome_unknown' = any (u.flags) or (u.post_open and u.posting_deadline < clock_timestamp()))
    ) as ticker_unknown,
    exists (
        select from strategy_stops t
        where t.strategy = s.strategy and (t.enabled_at is null or t.since >= d.decided_at)
    ) as strategy_disabled,
    exists (
        select from symbol_locks l
        where l.ticker = s.ticker and l.lifted_at is null and (l.until is null or l.until > $2)
    ) as symbol_locked
from signals s
cross join kill_switch k
left join lateral (
    select * from decisions d where d.signal_id = s.signal_id and d.leg = 'entry' order by d.generation desc limit 1
) d on true
where s.signal_id = $1

-- name: write_intent
with bound as (
    insert into approval_bindings (approval_id, leg, generation, client_order_id, bound_at)
    select $7, leg, generation, $2, $6 from orders where internal_order_id = $1
    on conflict (approval_id, leg, generation) do update set leg = excluded.leg
    returning client_order_id
), working as (
    update reservations r set state = 'working'
    from orders o
    where o.internal_order_id = $1 and r.state in ('held', 'working')
        and (r.signal_id, r.leg, r.generation) = (o.signal_id, o.leg, o.generation)
    returning r.signal_id
)
update orders set
    status = case when status = 'CREATED' then 'SUBMITTED' else status end,
    client_order_id = $2, request = $3::jsonb, post_count = post_count + 1, post_open = true,
    first_post_at = coalesce(first_post_at, $4),
    posting_deadline = clock_timestamp() + make_interval(secs => $5),
    absent_lookups = 0, absent_since = null,
    user_message = case when user_message = any ($8::text[]) then null else user_message end,
    row_version = row_version + 1, updated_at = $6
where internal_order_id = $1
returning *, (select client_order_id from bound) as bound_to, (select count(*) from working) as working

-- name: write_not_sent
update orders set
    post_count = post_count - 1, post_open = false,
    posting_deadline = case when post_count = 1 then null else posting_deadline end,
    first_post_at = case when post_count = 1 then null else first_post_at end,
    -- Where every other POST is proved absent, nothing of it can stand.
    flags = case when post_count - 1 = absent_proved_posts then array_remove(flags, 'outcome_unknown') else flags end,
    row_version = row_version + 1, updated_at = $2
where internal_order_id = $1 and post_open and post_count = $3
returning *

-- name: write_delay
update orders set user_message = $2, row_version = row_version + 1, updated_at = $3
where internal_order_id = $1 and user_message is distinct from $2 and settled_at is null
returning *

-- name: mark_conflict
update orders set identity_conflict = $2, updated_at = $3
where internal_order_id = $1 and identity_conflict is null
returning *

-- name: mark_taken
update orders set id_taken = true, updated_at = $2 where internal_order_id = $1

-- name: read_due
select o.*, (
    select decided_at from decisions d
    where d.signal_id = o.signal_id and d.leg = o.leg order by d.generation desc limit 1
) as decided_at
from orders o
where o.signal_id = $1 and o.leg = 'entry'
order by o.generation desc
limit 1

-- name: write_pre_trade
-- Unless it has ended meanwhile, or may stand at the broker.
update orders set pre_trade_at = $2, updated_at = $2
where internal_order_id = $1 and status <> all ($3::text[]) and broker_order_id is null
    and post_count <= absent_proved_posts
returning *

-- name: write_absence
update orders set
    absent_lookups = $2, absent_since = $3, absent_proved_posts = $4,
    post_open = post_open and not $5, row_version = row_version + 1, updated_at = $6
where internal_order_id = $1
returning *

-- name: database_time
select clock_timestamp()

-- name: unanswered_posts
select client_order_id from orders
where post_open and posting_deadline + make_interval(secs => $1) > clock_timestamp()
order by client_order_id
