-- migrate:up

-- What a token may do, and who made it. Null: any. Those of an earlier release keep what they had: one strategy or
-- any, every ticker and topic, no rate, no end.
alter table api_tokens
    add column strategies text[] check (cardinality(strategies) > 0),
    add column tickers text[] check (cardinality(tickers) > 0),
    add column topics text[] check (cardinality(topics) > 0),
    add column rate_per_minute integer check (rate_per_minute between 2 and 6000),
    add column prefix text, -- how the secret begins: enough to know it by
    add column made_by text check (made_by <> ''),
    add column revoked_by text;
update api_tokens set strategies = array[strategy] where strategy is not null;
alter table api_tokens
    drop column strategy,
    -- Only the setup of an installation makes one without bounds.
    add check (made_by is null or (
        strategies is not null and rate_per_minute is not null and prefix is not null
        and expires_at > created_at and expires_at <= created_at + interval '366 days'
    ));

-- Whoever may make tokens and revoke them can neither make one without bounds nor bring one back to life.
create function bound_tokens() returns trigger language plpgsql set search_path from current as $$
begin
    if tg_op = 'INSERT' then
        if new.made_by is null and current_user like 'ti\_%' then
            raise exception 'a token is made by somebody' using errcode = 'insufficient_privilege';
        end if;
        return new;
    end if;
    if old.revoked_at is not null and new.revoked_at is distinct from old.revoked_at then
        raise exception 'a revoked token stays revoked' using errcode = 'insufficient_privilege';
    end if;
    if old.made_by is not null and (
        new.token_hash, new.strategies, new.tickers, new.topics, new.rate_per_minute, new.expires_at, new.made_by
    ) is distinct from (
        old.token_hash, old.strategies, old.tickers, old.topics, old.rate_per_minute, old.expires_at, old.made_by
    ) then
        raise exception 'a token stays what it was made as: revoke it and make another'
            using errcode = 'insufficient_privilege';
    end if;
    -- Open event streams look at their token again at once.
    perform pg_notify('trading_tokens', '');
    return new;
end
$$;
create trigger api_tokens_bound before insert or update on api_tokens
    for each row execute function bound_tokens();

-- How far each token's requests are used up (GCRA): before `full_at` some of its burst is in use.
create table token_rates (
    token_id uuid primary key references api_tokens,
    full_at timestamptz not null default 'epoch',
    granted boolean not null default true, -- at the last asking
    used_at timestamptz
);

-- The account and mode that a database is bound to are for ever: every row of it, audit rows too, is of that mode.
create function keep_installation() returns trigger language plpgsql as $$
begin
    if old.account is not null
        and (new.account, new.mode, new.namespace) is distinct from (old.account, old.mode, old.namespace) then
        raise exception 'this database is bound to its account and mode for ever'
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;
create trigger installation_kept before update on installation
    for each row execute function keep_installation();

-- What execution is running with, for the two persons who grant live trading. Execution holds its own against the
-- grant: what somebody else writes here is granted in vain.
create table live_configuration (
    singleton boolean primary key default true check (singleton),
    configuration_hash text not null,
    document text not null, -- canonical JSON, of which the hash is
    mode text not null check (mode in ('paper', 'live')),
    permitted boolean not null, -- at that start
    reasons text[] not null,
    written_at timestamptz not null
);

-- Grants of live trading. What counts is the signed document; the columns beside it are for lists.
create table live_grants (
    grant_id uuid primary key,
    document text not null, -- canonical JSON, in the very characters that are signed
    signature text not null,
    key_id text not null,
    given_at timestamptz not null,
    expires_at timestamptz not null check (expires_at > given_at),
    revoked_at timestamptz,
    revoked_by text check (revoked_by <> ''),
    revoke_reason text check (revoke_reason <> ''),
    check ((revoked_at is null) = (revoked_by is null) and (revoked_at is null) = (revoke_reason is null))
);
create index live_grants_newest on live_grants (given_at desc);

create function keep_live_grant() returns trigger language plpgsql as $$
begin
    if old.revoked_at is not null then
        raise exception 'a revoked grant stays revoked' using errcode = 'insufficient_privilege';
    end if;
    if (new.grant_id, new.document, new.signature, new.key_id, new.given_at, new.expires_at)
        is distinct from (old.grant_id, old.document, old.signature, old.key_id, old.given_at, old.expires_at) then
        raise exception 'a grant stays as it was given' using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;
create trigger live_grants_kept before update on live_grants
    for each row execute function keep_live_grant();

-- migrate:down

drop table live_grants, live_configuration;
drop function keep_live_grant;
drop trigger installation_kept on installation;
drop function keep_installation;
drop table token_rates;
drop trigger api_tokens_bound on api_tokens;
drop function bound_tokens;
alter table api_tokens add column strategy text;
-- An earlier release knows one strategy or any: a token of several, or with a narrower scope, ends here.
update api_tokens set
    strategy = strategies[1],
    revoked_at = case when cardinality(strategies) > 1 or tickers is not null or topics is not null
        then coalesce(revoked_at, created_at) else revoked_at end;
alter table api_tokens
    drop column strategies, drop column tickers, drop column topics, drop column rate_per_minute,
    drop column prefix, drop column made_by, drop column revoked_by;
