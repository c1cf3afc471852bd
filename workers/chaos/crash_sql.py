# tidy: sql because the sweep looks, and does what only time does, with the owner's rights
"""What a crash sweep looks up, and what it does in place of time."""

from typing import Final

DECIDED: Final = "select true from decisions where signal_id = $1"
LIMITS: Final = "select count(*) from limits"
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
BREACHES: Final = "select count(*) from equity_breaches"
FIND_FILLS: Final = "update orders set fills_missing_since = null where signal_id = $1"
DELIVERY_STATE: Final = """
select state from alert_deliveries where subject = $1 and channel = $2 order by delivery_id limit 1
"""
DELIVERY_ID: Final = """
select delivery_id from alert_deliveries where subject = $1 and channel = $2 order by delivery_id limit 1
"""
WAKES_ANSWERED: Final = "select answered = wakes from broker_wakes"
NEWEST_EVENT: Final = "select position from event_relay"
GROUP: Final = """
with made as (
    insert into event_groups (group_name, created_at) values ($1, now()) on conflict do nothing returning group_name
)
insert into event_cursors (group_name, partition, position, taken)
select made.group_name, partition, $2, $2 from made, generate_series(0, 15) partition
"""
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
