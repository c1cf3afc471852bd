-- name: list_builds
-- Those that get or have work first; of the others the newest.
select deployment, build_id, state, since, ramp_percent, open_workflows, attended, seen_at
from builds
order by deployment, array_position(array['CURRENT', 'RAMPING', 'DRAINING', 'INACTIVE', 'DRAINED'], state), since desc

-- name: save_build
insert into builds (deployment, build_id, state, since, ramp_percent, open_workflows, attended, seen_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (deployment, build_id) do update set
    state = excluded.state, since = excluded.since, ramp_percent = excluded.ramp_percent,
    open_workflows = excluded.open_workflows, attended = excluded.attended, seen_at = excluded.seen_at

-- name: forget_builds
-- The server forgets a build some time after its last workflow.
delete from builds where deployment = $1 and build_id <> all ($2::text[])
