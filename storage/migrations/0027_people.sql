-- migrate:up

-- Who may use the console. Nothing in these tables lets anybody in by itself: passwords, links, sessions and recovery
-- codes are hashes, and TOTP secrets are sealed with a key that is in no table.
create table people (
    person_id uuid primary key,
    name text not null check (name ~ '^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$'),
    role text not null check (role in ('viewer', 'operator', 'risk', 'admin')),
    password_hash text,
    totp_secret bytea,
    -- The newest time step whose code was taken: each code opens once.
    totp_step bigint not null default 0,
    -- Being enrolled: it counts once a code of it was shown.
    totp_offered bytea,
    totp_offered_at timestamptz,
    created_at timestamptz not null,
    created_by text not null,
    disabled_at timestamptz
);
create unique index people_name on people (lower(name));

-- Somebody whose password was right; a person who also showed a second factor has mfa_at. The cookie is a secret, the
-- row holds its sha256, and it is another one after each sign-in and step-up.
create table sessions (
    session_id uuid primary key,
    secret_hash bytea not null unique,
    person_id uuid not null references people,
    began_at timestamptz not null,
    seen_at timestamptz not null,
    ends_at timestamptz not null,
    mfa_at timestamptz,
    factor text check (factor in ('totp', 'passkey', 'recovery code')),
    address text not null,
    agent text not null,
    ended_at timestamptz,
    ended_by text
);
create index sessions_of_person on sessions (person_id) where ended_at is null;

create table passkeys (
    credential_id bytea primary key,
    person_id uuid not null references people,
    public_key bytea not null,
    sign_count bigint not null,
    label text not null,
    created_at timestamptz not null,
    last_used_at timestamptz
);
create index passkeys_of_person on passkeys (person_id);

-- What a passkey is asked to sign, once.
create table passkey_challenges (
    session_id uuid not null references sessions,
    purpose text not null check (purpose in ('register', 'sign in')),
    challenge bytea not null,
    expires_at timestamptz not null,
    primary key (session_id, purpose)
);

create table recovery_codes (
    person_id uuid not null references people,
    code_hash bytea not null,
    used_at timestamptz,
    primary key (person_id, code_hash)
);

-- Tries to sign in, by person, or by the address of whoever tried a name that nobody has.
create table sign_in_tries (
    subject text primary key,
    tries integer not null,
    locks integer not null,
    tried_at timestamptz not null,
    not_before timestamptz,
    locked_until timestamptz
);
create index sign_in_tries_old on sign_in_tries (tried_at);

-- A link that lets one person in, once: the first Admin, somebody invited, somebody who lost the way in.
create table one_time_links (
    link_hash bytea primary key,
    purpose text not null check (purpose in ('first admin', 'invite', 'reset')),
    person_id uuid references people,
    role text not null check (role in ('viewer', 'operator', 'risk', 'admin')),
    made_by text not null,
    made_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    check ((person_id is null) = (purpose = 'first admin'))
);

-- migrate:down

drop table one_time_links;
drop table sign_in_tries;
drop table recovery_codes;
drop table passkey_challenges;
drop table passkeys;
drop table sessions;
drop table people;
