-- migrate:up

-- Whoever checks the log beside its sealer reads no payload: it is told what each hashes to.
create function audit_payload_hashes(ids bigint[]) returns table (id bigint, hash text) language sql
    security definer set search_path from current as $$
    select p.audit_id, encode(sha256(convert_to(p.payload, 'UTF8')), 'hex')
    from audit_payloads p where p.audit_id = any (ids)
$$;

-- What the move of an earlier release's log said of itself, if the first checkpoint covers it.
create function audit_moved() returns table (hash text, told text) language sql
    security definer set search_path from current as $$
    select a.input_hash, p.payload
    from audit_log a
    join audit_payloads p on p.audit_id = a.id
    join audit_leaves l on l.audit_id = a.id
    where a.correlation_id = 'audit' and a.component = 'Migration' and a.decision = 'AUDIT_MOVED' and a.previous_size is null
        and l.sequence < (select min(size) from audit_checkpoints)
    order by a.id
    limit 1
$$;

revoke all on function audit_payload_hashes(bigint[]), audit_moved() from public;

-- migrate:down

drop function audit_payload_hashes, audit_moved;
