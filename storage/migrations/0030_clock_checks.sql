-- migrate:up

-- What each process found when it last asked what time it is, and whether it stops new orders for it: everybody's,
-- until its clock is right again. Times are the database's, because a machine whose clock is wrong writes here too.
create table clock_checks (
    holder text primary key, -- which process, on which machine
    verdict text not null check (verdict in ('IN_SYNC', 'SKEWED', 'NO_SOURCE', 'NOT_ASKED')),
    offset_us bigint, -- how far the true time is ahead of that machine's; null: nobody said
    source text not null check (source in ('ntp', 'broker', 'none')),
    detail text not null,
    in_sync_times integer not null, -- in a row
    checked_at timestamptz not null default clock_timestamp(),
    halted_since timestamptz, -- null: it stops nothing
    halt_cause text,
    check ((halted_since is null) = (halt_cause is null))
);

-- migrate:down

drop table clock_checks;
