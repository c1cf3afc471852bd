"""Workflows that somebody started by hand, over rows that somebody wrote: nothing of it reaches the exchange."""

import asyncio
import json
from typing import Any, Final
from uuid import uuid4

import asyncpg
import pytest
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError

from schemas import wire
from schemas.protection import ProtectInput
from schemas.runs import OrderInput
from schemas.wire import Queue
from tests.forgery.bench import RESIGNED, resigned
from tests.servers.stack import POLL_SECONDS, SETTLED_WITHIN_SECONDS, Stack, signal
from workflows.orders import OrderWorkflow
from workflows.protection import ProtectionWorkflow

COPIES: Final = 2
HOWS: Final = ("no signature", "another's approval", *RESIGNED)
ASKED: Final = (
    "token_id, content_hash, document, strategy, ticker, action, order_type, time_in_force, quantity, limit_price,"
    " hard_stop_loss, extended_hours, created_at, valid_until, received_at, traceparent, stop_price"
)
ORDERED: Final = (
    "leg, generation, strategy, ticker, action, order_type, time_in_force, extended_hours, quantity, limit_price,"
    " stop_price, created_at, updated_at"
)
DECIDED: Final = (
    "leg, generation, approved, reasons, checks, quantity, limit_price, account_exposure_pct, limits_version,"
    " kill_epoch, decided_at, expires_at, hard_stop_loss"
)
RESERVED: Final = "leg, generation, strategy, ticker, side, quantity, price, created_at, lapses_at"
FORGED: Final = (
    f"insert into signals (signal_id, {ASKED}) select $2, {ASKED} from signals where signal_id = $1",
    f"insert into orders (signal_id, internal_order_id, status, row_version, {ORDERED})"
    f" select $2, gen_random_uuid(), 'CREATED', 2, {ORDERED} from orders where signal_id = $1",
    f"insert into reservations (signal_id, state, {RESERVED}) select $2, 'held', {RESERVED} from reservations"
    " where signal_id = $1",
)
DECISION: Final = f"""
    insert into decisions (signal_id, approval_id, approval, approval_signature, approval_key_id, {DECIDED})
    select $2, $3, $4, $5, $6, {DECIDED} from decisions where signal_id = $1"""


async def _forge(owner: "asyncpg.Connection[Any]", whole: str, name: str, how: str) -> None:
    """With the owner's rights: a signal, its order, and the decision that it is approved."""
    decided = await owner.fetchrow("select * from decisions where signal_id = $1", whole)
    assert decided is not None
    approval_id, told = uuid4(), (None, None, None)
    async with owner.transaction():
        for statement in FORGED:
            await owner.execute(statement, whole, name)
        order = await owner.fetchval("select internal_order_id from orders where signal_id = $1", name)
        if how == "another's approval":
            told = (decided["approval"], decided["approval_signature"], decided["approval_key_id"])
        elif how != "no signature":
            document = json.loads(decided["approval"])
            document |= {"signal_id": name, "approval_id": str(approval_id)}
            document["entry"]["internal_order_id"] = str(order)
            signed = resigned(document, decided["approval_signature"], how)
            told = (signed.document, signed.signature, signed.key_id)
        await owner.execute(DECISION, whole, name, approval_id, *told)


async def _started(stack: Stack, workflow: Any, name: str, id_: str, start: Any) -> WorkflowHandle[Any, Any]:
    """As anybody could who reaches Temporal; the sweeper may have been quicker."""
    try:
        return await stack.client.start_workflow(workflow, start, id=id_, task_queue=Queue.TRADING.value)
    except RPCError:
        return stack.client.get_workflow_handle(id_)


@pytest.mark.timeout(180)
async def test_workflows_started_by_hand_over_forged_decisions_place_nothing(
    stack: Stack, unique: Any
) -> None:
    whole = unique("whole")
    assert (await stack.submit(signal(whole))).status_code == 202
    assert (await stack.settled(whole))["status"] == "FILLED"
    before = (await stack.ledger())["posts_total"]

    owner = await asyncpg.connect(stack.dsn)
    names = {unique("forged"): how for how in HOWS for _ in range(COPIES)}
    for name, how in names.items():
        await _forge(owner, whole, name, how)
    invented = [unique("invented") for _ in range(COPIES)]
    started = [
        await _started(
            stack, OrderWorkflow.run, name, wire.order_workflow_id(name), OrderInput(signal_id=name)
        )
        for name in (*names, *invented)
    ] + [
        await _started(
            stack, ProtectionWorkflow.run, name, wire.protect_workflow_id(name), ProtectInput(signal_id=name)
        )
        for name in (*names, *invented)
    ]
    async with asyncio.timeout(SETTLED_WITHIN_SECONDS):
        while await owner.fetchval(
            "select count(*) from orders where signal_id = any ($1) and settled_at is null", list(names)
        ):
            await asyncio.sleep(POLL_SECONDS)
    reasons = dict(
        await owner.fetch("select signal_id, reason from orders where signal_id = any ($1)", list(names))
    )
    assert len(reasons) == len(names)
    assert set(reasons.values()) <= {"APPROVAL_FORGED", "APPROVAL_UNSIGNED", "APPROVAL_KEY_UNKNOWN"}, reasons
    assert await owner.fetchval("select count(*) from alerts where code = 'APPROVAL_FORGED'") == len(names)
    ledger = await stack.ledger()
    assert (ledger["posts_total"], ledger["accepted_total"]) == (before, 1)
    for handle in started:
        try:
            await handle.terminate()
        except RPCError:
            continue  # It has ended by itself.
    await owner.close()
