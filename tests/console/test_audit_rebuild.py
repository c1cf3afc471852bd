"""``trading audit rebuild``, and the acts of a person that it and the audit log know of."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg

from security.approval_files import ensure_files
from storage.statements import load
from tests.console.commands import of_stack
from tests.e2e.books import POLL_SECONDS, WITHIN_SECONDS, count
from tests.servers.stack import Stack, StackFactory, signal
from workers.clients import utc_now

CHANGED = "update executions set price = price + 1 where quantity = 7"


async def exported(stack: Stack, folder: Path) -> list[str]:
    """The files of an export, once all that is written is under a checkpoint."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while await count(stack, OUTSIDE):
            await asyncio.sleep(POLL_SECONDS)
    done = await of_stack(stack)("audit", "export", "--into", str(folder))
    assert done.code == 0, done
    return sorted(map(str, files_in(folder)))


def files_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.jsonl.zst"))


async def test_the_books_are_rebuilt_from_the_audit_log_and_a_difference_is_named(
    stack_factory: StackFactory, unique: Any, tmp_path: Path
) -> None:
    stack = await stack_factory()
    trading = of_stack(stack)
    signal_id = unique("rebuilt")
    await stack.submit(signal(signal_id, quantity="7"))
    order = await stack.settled(signal_id)

    found = await trading("audit", "rebuild", "--json", "--whole")
    assert found.code == 0, found
    told = found.json
    assert (told["compared"], told["orders_off"], told["fills_off"], told["positions_off"]) == (
        True,
        [],
        [],
        [],
    )
    [whole] = [each for each in told["whole"] if each["signal_id"] == signal_id]
    assert (whole["status"], whole["client_order_id"]) == ("FILLED", order["client_order_id"])
    assert [fill["quantity"] for fill in whole["fills"]] == ["7"]
    assert [each["decision"] for each in whole["history"]][:3] == [
        "APPROVED",
        "PRE_TRADE_PASSED",
        "SUBMITTING",
    ]

    files = await exported(stack, tmp_path)
    assert files
    assert (await trading("audit", "rebuild", "--export", *files, "--json")).code == 0
    alone = await trading("audit", "rebuild", "--export", *files, TRADING_DATABASE_URL=NO_DATABASE)
    assert (alone.code, "nothing is compared" in alone.out) == (0, True), alone
    assert "orders: 1, executions: 1" in alone.out
    assert (await trading("audit", "rebuild", "--export", __file__)).code == 2

    connection = await asyncpg.connect(stack.dsn)
    await connection.execute(CHANGED)
    await connection.close()
    wrong = await trading("audit", "rebuild")
    assert wrong.code == 1
    assert "WRONG: executions are not what the books say, 1 times" in wrong.out
    assert f"{signal_id}, execution 0" in wrong.out


OUTSIDE = (
    "select (select count(*) from audit_unsealed) + count(*) from audit_head "
    "where checkpoint_size is distinct from size"
)
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"


async def test_a_change_of_approval_keys_is_recorded_or_not_made(stack: Stack, tmp_path: Path) -> None:
    made = ensure_files(tmp_path, now=utc_now())
    trading = of_stack(stack)
    rotate = ("keys", "rotate", "--folder", str(tmp_path), "--reason", "a test", "--json")

    refused = await trading(*rotate, TRADING_DATABASE_URL=NO_DATABASE)
    assert (refused.code, "nothing was changed" in refused.err + refused.out) == (3, True)
    assert {name: (tmp_path / name).read_text().strip() for name in made} == made

    assert (await trading(*rotate)).code == 0
    connection = await asyncpg.connect(stack.dsn)
    story = await connection.fetch(load("events")["timeline"], "access", 100)
    await connection.close()
    last = story[-1]
    assert (last["decision"], last["actor"].split()[0]) == ("APPROVAL_KEYS_CHANGED", "operator")
    told = json.loads(last["payload"])
    assert (told["detail"], len(told["keys"])) == ("rotate: a test", 2)
    assert (tmp_path / "trading_approval_signing_key").read_text().strip() not in last["payload"]
