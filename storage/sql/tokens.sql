-- name: make_token
with made as (
    insert into api_tokens (
        token_id, name, token_hash, prefix, strategies, tickers, topics, rate_per_minute, created_at, expires_at, made_by
    ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    on conflict (name) do nothing
    returning token_id
)
insert into token_rates (token_id) select token_id from made
returning token_id

-- name: revoke_token
update api_tokens set revoked_at = $2, revoked_by = $3
where name = $1 and revoked_at is null
returning token_id

-- name: list_tokens
select t.token_id, t.name, t.prefix, t.strategies, t.tickers, t.topics, t.rate_per_minute, t.created_at,
    t.expires_at, t.revoked_at, t.made_by, t.revoked_by, r.used_at
from api_tokens t
left join token_rates r on r.token_id = t.token_id
where $1::text is null or t.name = $1
order by t.created_at desc, t.name
limit $2

-- name: use_token
-- As with the broker's budget, each asker reads the row as it stands at its turn. Nothing is decided by a use that a
-- crash of the database forgets: its commit need not wait for the disk.
update token_rates r set
    granted = extract(epoch from r.full_at - t.at) <= (t.burst - 1) * t.every,
    full_at = case when extract(epoch from r.full_at - t.at) <= (t.burst - 1) * t.every
        then greatest(r.full_at, t.at) + interval '1 second' * t.every else r.full_at end,
    used_at = t.at
from (
    select coalesce($4::timestamptz, clock_timestamp()) as at, $2::double precision as burst,
        $3::double precision as every, set_config('synchronous_commit', 'off', true) as unhurried
) t
where r.token_id = $1 and t.unhurried is not null
returning r.granted,
    greatest(0, extract(epoch from r.full_at - t.at) - (t.burst - 1) * t.every)::double precision as wait_seconds
