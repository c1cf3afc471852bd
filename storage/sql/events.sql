-- name: append_event
insert into events (event_id, topic, key, payload, occurred_at)
values ($1, $2, $3, $4::jsonb, $5)
on conflict (event_id) do nothing

-- name: append_audit
insert into audit_log (occurred_at, correlation_id, component, actor, input_hash, decision, checks, refs, payload)
values ($1, $2, $3, $4, $5, $6, $7::jsonb, $8::jsonb, $9::jsonb)

-- name: timeline
select occurred_at, component, actor, decision, checks, payload
from audit_log
where correlation_id = $1
order by id
limit $2
