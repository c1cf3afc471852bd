-- name: note_refusal
insert into funds_refusals (strategy, signal_id, client_order_id, needed, refused_at) values ($1, $2, $3, $4, $5)
on conflict (strategy) do update set
    signal_id = excluded.signal_id, client_order_id = excluded.client_order_id, needed = excluded.needed,
    refused_at = excluded.refused_at, covered_at = null

-- name: covered_now
select f.strategy from funds_refusals f cross join account a
where f.covered_at is null and a.taken_at > f.refused_at and a.buying_power >= f.needed
order by f.strategy

-- name: cover
update funds_refusals f set covered_at = $2 from account a
where f.strategy = $1 and f.covered_at is null and a.taken_at > f.refused_at and a.buying_power >= f.needed
returning f.needed, a.buying_power, a.taken_at
