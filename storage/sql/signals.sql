-- name: insert_signal
with new_signal as (
    insert into signals (
        signal_id, token_id, content_hash, document, strategy, ticker, action, order_type, time_in_force,
        quantity, limit_price, hard_stop_loss, extended_hours, created_at, valid_until, received_at,
        traceparent, stop_price
    ) values ($1, $2, $3, $4::jsonb, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $19)
    on conflict (signal_id) do nothing
    returning *
)
insert into orders (
    internal_order_id, signal_id, leg, generation, strategy, ticker, action, order_type, time_in_force,
    extended_hours, quantity, limit_price, stop_price, status, created_at, updated_at
)
select $18, signal_id, 'entry', 0, strategy, ticker, action, order_type, time_in_force,
    extended_hours, quantity, limit_price, stop_price, 'CREATED', received_at, received_at
from new_signal
returning signal_id

-- name: read_signal
select signal_id, token_id, content_hash, strategy, ticker, action, order_type, time_in_force, quantity,
    limit_price, stop_price, hard_stop_loss, extended_hours, created_at, valid_until, received_at, traceparent
from signals where signal_id = $1

-- name: list_signals
select s.signal_id
from signals s
where ($1::uuid is null or s.token_id = $1)
    and ($2::text is null or s.strategy = $2)
order by s.received_at desc, s.signal_id
limit $3

-- name: token_is_known
select exists (
    select from api_tokens where name = $1 and strategies is not distinct from $2::text[] and token_hash = $3
)

-- name: insert_token
insert into api_tokens (token_id, name, strategies, token_hash, created_at, expires_at)
values ($1, $2, $3, $4, $5, $6)
-- Who was revoked stays so: the same rows are written again at every migration.
on conflict (name) do update set
    strategies = excluded.strategies, token_hash = excluded.token_hash,
    expires_at = case when api_tokens.token_hash = excluded.token_hash
        then api_tokens.expires_at else excluded.expires_at end
returning token_id

-- name: find_token
-- In live mode every token of a strategy has its bounds; $3 is the console's.
select token_id, name, strategies, tickers, topics, rate_per_minute from api_tokens
where token_hash = $1 and revoked_at is null and (expires_at is null or expires_at > $2)
    and (strategies is not null or name = $3 or (select mode from installation) is distinct from 'live')
