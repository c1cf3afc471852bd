-- name: take
-- Every expression reads the row as it stands when it is this statement's turn, so the askers of any number of
-- processes come one after the other.
update rate_budget b set
    granted = case when b.paused_until > t.at then 0 else
        least(t.wanted, floor(t.burst - least(t.burst, greatest(0, extract(epoch from b.full_at - t.at) / t.every))))
    end,
    full_at = case when b.paused_until > t.at then b.full_at else
        t.at + interval '1 second' * (t.every * (
            least(t.burst, greatest(0, extract(epoch from b.full_at - t.at) / t.every))
            + least(t.wanted, floor(t.burst - least(t.burst, greatest(0, extract(epoch from b.full_at - t.at) / t.every))))
        ))::double precision
    end
from (
    select coalesce($5::timestamptz, clock_timestamp()) as at, $2::numeric as wanted, $3::numeric as burst,
        $4::numeric as every
) t
where b.share = $1
returning b.granted,
    greatest(
        0, coalesce(extract(epoch from b.paused_until - t.at), 0),
        extract(epoch from b.full_at - t.at) - (t.burst - 1) * t.every
    )::double precision as wait_seconds,
    (select failures from broker_halt) as failures

-- name: give_back
update rate_budget set full_at = full_at - interval '1 second' * ($2::numeric * $3::numeric)::double precision where share = $1

-- name: pause
update rate_budget set
    paused_until = greatest(
        paused_until, coalesce($3::timestamptz, clock_timestamp()) + interval '1 second' * $2::double precision
    )
where share = $1
