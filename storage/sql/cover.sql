-- name: out_of_cover
-- Open protections whose live legs have not stood for exactly their approved shares since that time, by rows alone.
select p.signal_id, l.covered, p.uncovered_since is not null as is_seen,
    coalesce(p.uncovered_since, greatest(e.updated_at, l.changed_at, p.updated_at)) as since,
    exists (
        select from alerts a where a.code = 'UNPROTECTED' and a.subject = p.signal_id and a.cleared_at is null
    ) as is_told
from protections p
join orders e on e.signal_id = p.signal_id and e.leg = 'entry'
cross join lateral (
    select coalesce(sum(o.filled_quantity), 0) as exited, max(o.updated_at) as changed_at,
        -- What the broker calls filled is on its way; what it denies stands for nothing.
        coalesce(sum(coalesce(o.broker_quantity, o.quantity) - o.filled_quantity) filter (
            where (o.status = 'FILLED' and o.settled_at is null)
                or (o.status not in ('FILLED', 'CANCELED', 'REJECTED', 'FATAL_ERROR')
                    and o.broker_order_id is not null and not 'outcome_unknown' = any (o.flags))
        ), 0) as covered
    from orders o where o.signal_id = p.signal_id and o.leg <> 'entry'
) l
where p.closed_at is null and ($2::text is null or p.signal_id = $2)
    and greatest(0, least(e.filled_quantity - p.given_up, e.quantity) - l.exited) <> l.covered
    and coalesce(p.uncovered_since, greatest(e.updated_at, l.changed_at, p.updated_at)) <= $1
order by since, p.signal_id
limit $3
