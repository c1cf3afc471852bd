-- migrate:up

-- Whoever checks the log beside its sealer reads no payload: it is told what each hashes to.
create function audit_payload_hashes(ids bigint[]) returns table (id bigint, hash text) language sql
    security definer set search_path from current as $$
    select p.audit_id, encode(sha256(convert_to(p.payload, 'UTF8')), 'hex')
    from audit_payloads p where p.audit_id = any (ids)
$$;

revoke all on function audit_payload_hashes(bigint[]) from public;

-- migrate:down

drop function audit_payload_hashes;
