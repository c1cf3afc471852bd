-- name: read_halt
select is_open, failures, cause, changed_at, probed_at from broker_halt

-- name: count_failure
update broker_halt set failures = failures + 1 where not is_open returning failures

-- name: forget_failures
update broker_halt set failures = 0 where failures > 0 and not is_open

-- name: open_halt
update broker_halt set is_open = true, cause = $1, changed_at = $2, probed_at = clock_timestamp() where not is_open
returning failures

-- name: claim_probe
-- By the database's clock, whoever asks; a time still to come was written before that clock was set back.
update broker_halt set probed_at = clock_timestamp()
where is_open and (
    probed_at is null or probed_at <= clock_timestamp() - $1::interval or probed_at > clock_timestamp()
)
returning cause

-- name: close_halt
update broker_halt set is_open = false, failures = 0, changed_at = $1 where is_open returning cause
