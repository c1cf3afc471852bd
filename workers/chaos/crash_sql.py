# tidy: sql because the sweep looks, and does what only time does, with the owner's rights
"""What a crash sweep looks up, and what it does in place of time."""

from typing import Final

DECIDED: Final = "select true from decisions where signal_id = $1"
LIMITS: Final = "select count(*) from limits"
LIMITS_OF: Final = "select count(*) from limits where scope = 'strategy' and name = $1"
ASKED_BY: Final = "select count(*) from audit_log where decision = 'APPROVAL_ASKED' and actor = $1"
CLOSES: Final = "select signal_id from closing_requests where ticker = $1 and asked_by = $2"
RAISED: Final = "select true from alerts where subject = $1 and cleared_at is null"
CREATE_DATABASE: Final = 'create database "{name}"'
LAPSE: Final = "update reservations set state = 'lapsed' where signal_id = $1 and state = 'held'"
GROW_OLD: Final = """
update reconciliations set finished_at = finished_at - interval '20 minutes' where finished_at is not null
"""
CATCH_UP_DUE: Final = "update trade_stream set last_catch_up_at = null"
ACCOUNT_OLD: Final = "update account set taken_at = taken_at - interval '10 minutes'"
MISS_FILLS: Final = (
    "update orders set fills_missing_since = now() - interval '5 minutes' where signal_id = $1"
)
DENY_ONCE: Final = """
update orders set absent_lookups = 1, absent_since = clock_timestamp() - interval '2 minutes' where signal_id = $1
"""
DENY_LONG: Final = """
update orders set absent_lookups = 1, absent_since = clock_timestamp() - interval '6 minutes' where signal_id = $1
"""
STOP_DENIED: Final = """
update orders set absent_lookups = 3, absent_since = clock_timestamp() - interval '4 minutes',
    flags = '{outcome_unknown}'
where signal_id = $1 and leg = 'stop'
"""
STOP_IN_DOUBT: Final = (
    "select 'outcome_unknown' = any (flags) from orders where signal_id = $1 and leg = 'stop'"
)
DENIED: Final = "select absent_lookups > 0 from orders where signal_id = $1"
COVERED: Final = "select covered_at is not null from funds_refusals where strategy = $1"
SWEEP_CONFIRMED: Final = "select swept_at is not null and sweep_confirmed from kill_switch"
FATE: Final = (
    "select sweep ->> client_order_id from kill_switch, orders where signal_id = $1 and leg = 'entry'"
)
HALTED: Final = "select is_open from broker_halt"
PROBED: Final = "update broker_halt set probed_at = clock_timestamp() where is_open"
BREACHES: Final = "select count(*) from equity_breaches"
FIND_FILLS: Final = "update orders set fills_missing_since = null where signal_id = $1"
DELIVERY_STATE: Final = """
select state from alert_deliveries where subject = $1 and channel = $2 order by delivery_id limit 1
"""
DELIVERY_ID: Final = """
select delivery_id from alert_deliveries where subject = $1 and channel = $2 order by delivery_id limit 1
"""
WAKES_ANSWERED: Final = "select answered = wakes from broker_wakes"
NEWEST_AUDIT_ID: Final = "select max(id) from audit_log"
CHECKPOINTED: Final = """
select not exists (select from audit_unsealed where id <= $1)
    and coalesce((select max(sequence) from audit_leaves where audit_id <= $1) < checkpoint_size, false)
from audit_head
"""
CHECKPOINTS: Final = """
select jsonb_object_agg(size, note)::text from audit_checkpoints where published_at is not null
"""
LEAVES_WITH_HOLES: Final = """
select count(*) <> max(sequence) + 1 or count(*) <> (select size from audit_head) from audit_leaves
"""
EVENTS_OLD: Final = """
update events set occurred_at = occurred_at - interval '40 days'
where position is not null and occurred_at > now() - interval '30 days'
"""
EVENTS_GONE: Final = "select not exists (select from events where occurred_at < now() - interval '31 days')"
EVENTS_WITH_HOLES: Final = """
select max(position) - min(position) + 1 <> count(position) or min(position) <> (
    select coalesce(max(stop), min(position)) from audit_archives where kind = 'events' and state = 'removed'
) from events
"""
NEXT_EVENTS_FILE: Final = """
select format('events/%s-%s.jsonl.zst', lpad(min(position)::text, 20, '0'),
    lpad((max(position) + 1)::text, 20, '0'))
from events where position is not null and occurred_at < now() - interval '31 days'
"""
OLD_MONTH: Final = "select make_audit_partitions($1, 0)"
HAS_MONTH: Final = "select to_regclass($1) is not null"
DROPPED: Final = "select count(*) from audit_drops where partition = $1"
SEALED_PAYLOADS: Final = """
select l.sequence, p.payload from audit_leaves l join audit_payloads p on p.audit_id = l.audit_id
where l.sequence >= (select coalesce(max(stop), 0) from audit_archives where kind = 'audit')
order by l.sequence limit $1
"""
AS_TIME_DOES: Final = "set local session_replication_role = replica"
STANDS_LONG: Final = "update people set standing_since = standing_since - interval '2 days' where name = $1"
ARCHIVED: Final = """
insert into audit_archives (kind, first, stop, name, state, oldest_at, newest_at, keep_until, started_at, rows_hash,
    object_hash, object_bytes, checked_at, removed_at)
select 'audit', $1, $2, $3, 'removed', min(occurred_at), max(occurred_at), now(), now(),
    (archived_rows_hash('audit', $1, $2)).hash, 'of a sweep', 1, now(), now()
from audit_leaves where sequence >= $1 and sequence < $2
"""
PAYLOADS_GONE: Final = """
delete from audit_payloads using audit_leaves l
where l.audit_id = audit_payloads.audit_id and l.sequence >= $1 and l.sequence < $2
"""
PAYLOADS_BACK: Final = """
select count(*) = $2::bigint - $1::bigint from audit_leaves l join audit_payloads p using (audit_id)
join audit_log g on g.id = l.audit_id and g.input_hash = encode(sha256(convert_to(p.payload, 'UTF8')), 'hex')
where l.sequence >= $1 and l.sequence < $2
"""
NEWEST_EVENT: Final = "select position from event_relay"
GROUP: Final = """
with made as (
    insert into event_groups (group_name, created_at) values ($1, now()) on conflict do nothing returning group_name
)
insert into event_cursors (group_name, partition, position, taken)
select made.group_name, partition, $2, $2 from made, generate_series(0, 15) partition
"""
GROUPS: Final = "select coalesce(array_agg(group_name), '{}') from event_groups"
GROUP_TOOK: Final = "select bool_or(position > 0) from event_cursors where group_name = $1 and holder is null"
GROUP_BEGINS_AT: Final = "select bool_and(position = $2) from event_cursors where group_name = $1"
LETTER: Final = """
insert into event_dead_letters (
    group_name, position, partition, event_id, topic, key, occurred_at, payload, tries, error, died_at, death, state
)
select $1, coalesce(max(position), 0) + 1, 0, $2, 'trading.execution.status', $2, now(), '{}', 1, 'x', now(), 'x',
    'due'
from event_dead_letters where group_name = $1
"""
DEAD_LETTER: Final = LETTER.replace("'due'", "'dead'")
LETTERS: Final = "select coalesce(array_agg(event_id), '{}') from event_dead_letters where group_name = $1"
LETTERS_LEFT: Final = "select count(*) from event_dead_letters where group_name = $1"
LETTER_IS_DUE: Final = "select bool_and(state = 'due') from event_dead_letters where group_name = $1"
EVENTS_BETWEEN: Final = "select array_agg(event_id) from events where position > $1 and position <= $2"
SIGNED_IN: Final = "select count(*) from audit_log where decision = 'SIGNED_IN' and actor = $1"
SHOWN: Final = "select count(*) from sessions where person_id = $1 and mfa_at is not null"
SEEN_LONG_AGO: Final = """
update sessions s set seen_at = s.seen_at - interval '5 minutes'
from people p where p.person_id = s.person_id and p.name = $1 and s.ended_at is null
"""
