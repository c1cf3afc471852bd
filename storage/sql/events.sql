-- name: append_records
with queued as (
    insert into events (event_id, topic, key, payload, occurred_at)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::timestamptz[])
    on conflict (event_id) do nothing
)
insert into audit_log (occurred_at, correlation_id, component, actor, input_hash, decision, checks, refs, payload)
values ($6, $7, $8, $9, $10, $11, $12::jsonb, $13::jsonb, $14::jsonb)

-- name: timeline
select occurred_at, component, actor, decision, checks, payload
from audit_log
where correlation_id = $1
order by id
limit $2
