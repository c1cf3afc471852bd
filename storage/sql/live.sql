-- name: read_seen
-- The newest grant alone, whatever its state, and the switch: for who is about to send.
select k.engaged, g.grant_id, g.document, g.signature, g.key_id, g.revoked_at
from kill_switch k
left join lateral (select * from live_grants order by given_at desc, grant_id limit 1) g on true

-- name: insert_grant
insert into live_grants (grant_id, document, signature, key_id, given_at, expires_at) values ($1, $2, $3, $4, $5, $6)

-- name: revoke_grants
-- $4: an id that stands in the document; '' stands in every one.
update live_grants set revoked_at = $1, revoked_by = $2, revoke_reason = $3
where revoked_at is null and expires_at > $1 and strpos(document, $4) > 0
returning grant_id

-- name: list_grants
select grant_id, document, given_at, expires_at, revoked_at, revoked_by, revoke_reason
from live_grants order by given_at desc, grant_id limit $1

-- name: read_newest_grant
-- As `read_seen` takes it. What counts is the signed document; this is for people.
select expires_at, revoked_at from live_grants order by given_at desc, grant_id limit 1

-- name: save_configuration
insert into live_configuration as c (configuration_hash, document, mode, permitted, reasons, written_at)
values ($1, $2, $3, $4, $5, $6)
on conflict (singleton) do update set
    configuration_hash = excluded.configuration_hash, document = excluded.document, mode = excluded.mode,
    permitted = excluded.permitted, reasons = excluded.reasons, written_at = excluded.written_at

-- name: read_configuration
select configuration_hash, document, mode, permitted, reasons, written_at from live_configuration
