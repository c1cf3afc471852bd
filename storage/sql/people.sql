-- name: list_people
select p.person_id, p.name, p.role, p.created_at, p.created_by, p.disabled_at, p.standing_since,
    p.password_hash is not null as joined,
    p.totp_secret is not null as totp,
    (select count(*) from passkeys k where k.person_id = p.person_id)::int as passkeys,
    (select count(*) from recovery_codes r where r.person_id = p.person_id and r.used_at is null)::int as recovery_codes,
    case when t.locked_until > $1 then t.locked_until end as locked_until,
    (select max(s.seen_at) from sessions s where s.person_id = p.person_id) as last_seen_at
from people p
left join sign_in_tries t on t.subject = 'person ' || p.person_id
where $2::uuid is null or p.person_id = $2
order by lower(p.name)

-- name: find_person
select person_id from people where lower(name) = lower($1)

-- name: read_secrets
select person_id, name, password_hash, totp_secret, totp_step, totp_offered, totp_offered_at, disabled_at
from people where person_id = $1

-- name: hold
-- As this person is now, and stays until the transaction ends: whoever changes or resets the ways in waits.
select person_id, name, password_hash, totp_secret, totp_step, totp_offered, totp_offered_at, disabled_at
from people where person_id = $1
for update

-- name: lock_admins
-- Whoever takes an Admin away waits for others who do. With the person that it is done to, all in one order: others
-- who lock two people do it in the same.
select person_id, role = 'admin' and disabled_at is null and password_hash is not null as is_admin from people
where person_id = $1 or (role = 'admin' and disabled_at is null and password_hash is not null)
order by person_id
for update

-- name: insert_person
insert into people (person_id, name, role, password_hash, created_at, created_by) values ($1, $2, $3, $4, $5, $6)
on conflict (lower(name)) do nothing
returning person_id

-- name: set_role
update people set role = $2 where person_id = $1 and role <> $2 returning person_id

-- name: set_disabled
update people set disabled_at = $2 where person_id = $1 and (disabled_at is null) <> ($2::timestamptz is null)
returning person_id

-- name: set_password
update people set password_hash = $2 where person_id = $1

-- name: forget_factors
update people set password_hash = null, totp_secret = null, totp_offered = null where person_id = $1

-- name: forget_passkeys
delete from passkeys where person_id = $1

-- name: forget_recovery_codes
delete from recovery_codes where person_id = $1

-- name: insert_recovery_codes
insert into recovery_codes (person_id, code_hash) select $1, unnest($2::bytea[])

-- name: use_recovery_code
update recovery_codes set used_at = $3 where person_id = $1 and code_hash = $2 and used_at is null returning person_id

-- name: offer_totp
update people set totp_offered = $2, totp_offered_at = $3 where person_id = $1

-- name: take_totp
-- The first code of an offered secret, whose step is used up with it.
update people set totp_secret = totp_offered, totp_step = $3, totp_offered = null, totp_offered_at = null
where person_id = $1 and totp_offered = $2
returning person_id

-- name: remove_totp
update people set totp_secret = null where person_id = $1 and totp_secret is not null returning person_id

-- name: use_totp_step
-- Compared and advanced in one, so that no code opens twice, however many come at once.
update people set totp_step = $2 where person_id = $1 and totp_step < $2 returning person_id

-- name: list_passkeys
select encode(credential_id, 'hex') as credential_id, label, sign_count, created_at, last_used_at
from passkeys where person_id = $1 order by created_at

-- name: credential_ids
select credential_id from passkeys where person_id = $1 order by created_at

-- name: read_passkey
-- Of this person alone: another's opens nothing here.
select public_key, sign_count from passkeys where person_id = $1 and credential_id = $2 for update

-- name: insert_passkey
insert into passkeys (credential_id, person_id, public_key, sign_count, label, created_at)
values ($1, $2, $3, $4, $5, $6)
on conflict (credential_id) do nothing
returning credential_id

-- name: use_passkey
-- A counter that does not grow is a copy of the key, save for keys that do not count at all.
update passkeys set sign_count = $3, last_used_at = $4
where person_id = $1 and credential_id = $2 and (sign_count < $3 or (sign_count = 0 and $3 = 0))
returning credential_id

-- name: remove_passkey
delete from passkeys where person_id = $1 and credential_id = $2 returning label

-- name: insert_link
insert into one_time_links (link_hash, purpose, person_id, role, made_by, made_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $7)

-- name: read_link
select l.purpose, l.person_id, l.role, p.name
from one_time_links l left join people p using (person_id)
where l.link_hash = $1 and l.used_at is null and l.expires_at > $2

-- name: use_link
update one_time_links set used_at = $2 where link_hash = $1 and used_at is null and expires_at > $2
returning purpose, person_id, role

-- name: end_links
-- Of one person; without one those of the first Admin.
update one_time_links set used_at = $2 where person_id is not distinct from $1 and used_at is null

-- name: lock_first_admin
select pg_advisory_xact_lock($1, 0)

-- name: first_admin_state
select
    exists (
        select from people where role = 'admin' and disabled_at is null and password_hash is not null
    ) as there_is_one,
    exists (select from one_time_links where purpose = 'first admin') as link_was_made
