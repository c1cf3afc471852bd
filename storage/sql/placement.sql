-- name: take_fence
select pg_try_advisory_lock_shared($1)

-- name: free_fence
select pg_advisory_unlock_shared($1)

-- name: read_switch
select engaged, epoch, reason from kill_switch

-- name: write_intent
update orders set
    status = case when status = 'CREATED' then 'SUBMITTED' else status end,
    client_order_id = $2, request = $3::jsonb, post_count = post_count + 1, post_open = true,
    first_post_at = coalesce(first_post_at, $4),
    posting_deadline = clock_timestamp() + make_interval(secs => $5),
    absent_lookups = 0, absent_since = null,
    row_version = row_version + 1, updated_at = $6
where internal_order_id = $1
returning *

-- name: bind_approval
insert into approval_bindings (approval_id, leg, client_order_id, bound_at) values ($1, $2, $3, $4)
on conflict (approval_id, leg) do nothing

-- name: read_binding
select client_order_id from approval_bindings where approval_id = $1 and leg = $2

-- name: write_not_sent
update orders set
    post_count = post_count - 1, post_open = false,
    posting_deadline = case when post_count = 1 then null else posting_deadline end,
    first_post_at = case when post_count = 1 then null else first_post_at end,
    row_version = row_version + 1, updated_at = $2
where internal_order_id = $1 and post_open
returning *

-- name: write_pre_trade
update orders set pre_trade_at = $2, updated_at = $2 where internal_order_id = $1

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
