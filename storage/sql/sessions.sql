-- name: insert_session
insert into sessions (session_id, secret_hash, person_id, began_at, seen_at, ends_at, address, agent)
values ($1, $2, $3, $4, $4, $5, $6, $7)

-- name: read_session
-- What it stands for is read anew at every request: role, disabling and revoking count at the next one.
select s.session_id, s.person_id, p.name, p.role, s.mfa_at, s.seen_at,
    p.totp_secret is not null or exists (select from passkeys k where k.person_id = p.person_id) as has_factor,
    exists (select from passkeys k where k.person_id = p.person_id) as has_passkey,
    p.totp_secret is not null as has_totp
from sessions s join people p using (person_id)
where s.secret_hash = $1 and s.ended_at is null and s.ends_at > $2 and s.seen_at > $3
    and p.disabled_at is null and p.password_hash is not null

-- name: role_of_session
-- Of one that somebody has signed in with, whatever its cookie has become since.
select p.role from sessions s join people p using (person_id)
where s.session_id = $1 and s.ended_at is null and s.ends_at > $2 and s.seen_at > $3 and s.mfa_at is not null
    and p.disabled_at is null and p.password_hash is not null

-- name: is_going_on
select exists (select from sessions where session_id = $1 and ended_at is null and ends_at > $2)

-- name: touch_session
update sessions set seen_at = $2 where session_id = $1 and seen_at < $2

-- name: rotate_session
update sessions set secret_hash = $2, mfa_at = $3, factor = $4, seen_at = $3
where session_id = $1 and ended_at is null
returning person_id

-- name: end_surplus
-- All but the newest, and never the one that has just begun or signed in ($6). Those with a second factor and those
-- without are counted apart, so that whoever knows a password pushes nobody out.
update sessions set ended_at = $2, ended_by = $3
where session_id in (
    select session_id from sessions
    where person_id = $1 and ended_at is null and (mfa_at is not null) = $4
    order by session_id = $6 desc, seen_at desc
    offset $5
)

-- name: end_session
update sessions set ended_at = $3, ended_by = $4
where session_id = $1 and ($2::uuid is null or person_id = $2) and ended_at is null
returning person_id

-- name: end_sessions_of
update sessions set ended_at = $2, ended_by = $3
where person_id = $1 and ended_at is null and session_id is distinct from $4

-- name: list_sessions
select s.session_id, s.person_id, p.name, s.began_at, s.seen_at, s.ends_at, s.mfa_at, s.factor, s.address, s.agent
from sessions s join people p using (person_id)
where s.ended_at is null and s.ends_at > $1 and s.seen_at > $2 and ($3::uuid is null or s.person_id = $3)
order by s.seen_at desc
limit $4

-- name: keep_challenge
insert into passkey_challenges (session_id, purpose, challenge, expires_at) values ($1, $2, $3, $4)
on conflict (session_id, purpose) do update set challenge = excluded.challenge, expires_at = excluded.expires_at

-- name: take_challenge
delete from passkey_challenges where session_id = $1 and purpose = $2 returning challenge, expires_at

-- name: spend_try
-- Counted before anything is compared, in one statement: of any number of guesses at once each spends one. After ten
-- there is a lock, each time for twice as long; what is tried meanwhile counts and does not prolong it.
insert into sign_in_tries as t (subject, tries, locks, tried_at, not_before)
values ($1, 1, 0, $2, $2)
on conflict (subject) do update set
    tries = case when t.locked_until <= $2 then 1 else t.tries + 1 end,
    tried_at = $2,
    not_before = greatest(
        t.not_before,
        $2 + make_interval(secs => case
            when t.locked_until <= $2 or t.tries < $4 then 0
            else least(power(2, least(t.tries - $4, 20)), $5)
        end)
    ),
    locked_until = case
        when t.locked_until <= $2 then null
        when t.locked_until is null and t.tries + 1 >= $3
            then $2 + least($6::interval * power(2, least(t.locks, 20)), $7::interval)
        else t.locked_until
    end,
    locks = case when t.locked_until is null and t.tries + 1 >= $3 then t.locks + 1 else t.locks end
returning new.tries, new.locked_until,
    coalesce(old.not_before <= $2, true) and coalesce(old.locked_until <= $2, true) as allowed

-- name: give_try_back
update sign_in_tries set
    tries = greatest(tries - 1, 0), not_before = $2,
    locks = case when locked_until is not null and tries = $3 then locks - 1 else locks end,
    locked_until = case when tries = $3 then null else locked_until end
where subject = $1

-- name: forget_tries
delete from sign_in_tries where subject = $1 returning subject

-- name: forget_old_tries
delete from sign_in_tries where tried_at < $1 and (locked_until is null or locked_until < $1)

-- name: read_standing
-- What stands on every page.
select k.engaged, k.scope, k.reason, k.triggered_by, k.changed_at, i.mode, i.account
from kill_switch k cross join installation i
