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
