-- name: try_fence_exclusive
select pg_try_advisory_xact_lock($1)

-- name: fence_holders
-- Sessions of this database that hold the fence, by the name that their process gave them.
select
    l.pid, a.usename as role, coalesce(a.application_name, '') as process,
    l.mode = 'ExclusiveLock' as exclusive
from pg_locks l
left join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.objsubid = 1
    and l.database = (select oid from pg_database where datname = current_database())
    and (l.classid::bigint << 32 | l.objid::bigint) = $1
order by l.pid
