"""The judge is judged: with the fence, the look-up, the deduplication or the binding taken out, a run fails."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from tests.chaos.broken import HOLD_VARIABLE
from tests.console.commands import Trading, environment
from workers.chaos.doors import new_signal
from workers.chaos.judge import Verdict, judge, posts_after
from workers.chaos.ledger import Ledger, read_ledger
from workers.chaos.rows import read_ours, read_theirs
from workers.chaos.stage import Stage, staged

WITHIN_SECONDS = 120.0
POLL_SECONDS = 0.1
HOLD_STOPS_THE_KILL_SECONDS = 3.0
"""Above the two seconds after which a read switch is too old to send."""

long = pytest.mark.slow
"""All but one: each starts a whole installation."""
pytestmark = pytest.mark.timeout(600)


def broken(part: str, process: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.chaos.broken", part, process)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged(exchange_options=("--tickers=10",)) as running:
        yield running


async def ledger_of(stage: Stage) -> Ledger:
    return read_ledger(await stage.exchange.records())


async def verdict_of(stage: Stage, taken: set[str]) -> Verdict:
    """What the judge says of the run so far."""
    ledger = await ledger_of(stage)
    theirs = await read_theirs(stage)
    async with stage.database() as connection:
        return judge(ledger, await read_ours(connection), theirs, taken)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for it; what never comes is for the assertion after it to tell."""
    with suppress(TimeoutError):
        async with asyncio.timeout(WITHIN_SECONDS):
            while not await condition():
                await asyncio.sleep(POLL_SECONDS)


async def traded(stage: Stage, prefix: str, count: int, **fields: Any) -> set[str]:
    """So many small orders, until each is at the exchange."""
    before = (await stage.exchange.summary())["accepted_total"]
    names = {f"{prefix}-{number}" for number in range(count)}
    for number, name in enumerate(sorted(names)):
        signal = new_signal(name, ticker=f"T{1 + number % 10:04d}", **fields)
        assert (await stage.gateway.submit_until_taken(signal)).status_code == 202

    async def there() -> bool:
        return bool((await stage.exchange.summary())["accepted_total"] >= before + count)

    await until(there)
    return names


async def settled(stage: Stage, count: int) -> bool:
    with suppress(OSError, asyncpg.PostgresError):
        async with stage.database() as connection:
            found = await connection.fetchval("select count(*) from orders where settled_at is not null")
            return bool(found >= count)
    return False


async def test_a_short_run_without_the_binding_fails() -> None:
    """How: every part of ours in one process, as `make chaos-judge` breaks it in its own."""
    commands = {"compact": broken("binding", "compact")}
    options = ("--tickers=10",)
    async with staged(topology="compact", exchange_options=options, commands=commands) as running:
        taken = await traded(running, "binding", 1)
        verdict = await verdict_of(running, taken)
    assert verdict.figures["unapproved"] == 1, verdict
    assert verdict.wrong


@long
async def test_nothing_taken_out_is_good(stage: Stage) -> None:
    """How: the same commands with nothing patched; duplicated frames, lost answers."""
    await stage.restart("execution", argv=broken("nothing", "execution"))
    await stage.exchange.control(
        "faults", {"match": {"stream": "trade_updates"}, "action": "duplicate_frame", "times": 50}
    )
    taken = await traded(stage, "sound", 5)
    await until(lambda: settled(stage, 5))
    verdict = await verdict_of(stage, taken)
    assert verdict.wrong == []
    assert verdict.figures["filled"] == 5


@long
@pytest.mark.parametrize("part", ["binding", "signature"])
async def test_without_the_approval_a_run_fails(stage: Stage, part: str) -> None:
    await stage.restart("execution", argv=broken(part, "execution"))
    taken = await traded(stage, part, 3)
    verdict = await verdict_of(stage, taken)
    assert verdict.figures["unapproved"] == 3, verdict
    assert verdict.wrong


@long
async def test_what_is_not_what_risk_signed_is_not_sent(stage: Stage) -> None:
    """How: execution would send twice the quantity; the same with nobody to verify it is the run above."""
    await stage.restart("execution", argv=broken("content", "execution"))
    for number in range(3):
        signal = new_signal(f"more-{number}", ticker=f"T{1 + number:04d}")
        assert (await stage.gateway.submit_until_taken(signal)).status_code == 202

    async def refused() -> bool:
        async with stage.database() as connection:
            found = await connection.fetchval("select count(*) from orders where reason = 'APPROVAL_FORGED'")
            return bool(found == 3)

    await until(refused)
    assert await refused()
    assert (await stage.exchange.summary())["posts_total"] == 0


@long
async def test_without_the_look_up_a_run_fails(stage: Stage) -> None:
    """How: an order that rests, its answer and every frame lost: only a look-up could tell."""
    await stage.restart("execution", argv=broken("look-up", "execution"))
    await stage.exchange.control(
        "faults", {"match": {"stream": "trade_updates"}, "action": "drop_frame", "times": 1000}
    )
    await stage.exchange.control(
        "faults", {"match": {"method": "POST", "path": "/v2/orders"}, "action": "drop_after_landing"}
    )
    taken = await traded(stage, "unseen", 1, order_type="LIMIT", limit_price="30.00")

    async def sent_again() -> bool:
        return bool((await stage.exchange.summary())["posts_total"] > 1)

    await until(sent_again)
    verdict = await verdict_of(stage, taken)
    assert verdict.figures["reposted_blind"] == 1, verdict
    assert verdict.wrong


@long
async def test_without_the_deduplication_a_run_fails(stage: Stage) -> None:
    """How: every frame twice, to operations that count every telling."""
    await stage.restart("operations", argv=broken("deduplication", "operations"))
    await stage.until_trading()
    await stage.exchange.control(
        "faults", {"match": {"stream": "trade_updates"}, "action": "duplicate_frame", "times": 1000}
    )
    taken = await traded(stage, "doubled", 5)
    verdict = await verdict_of(stage, taken)

    async def counted_twice() -> bool:
        nonlocal verdict
        verdict = await verdict_of(stage, taken)
        return bool(verdict.figures["misfilled"] and verdict.figures["positions_off"])

    await until(counted_twice)
    assert verdict.figures["misfilled"] > 0, verdict
    assert verdict.figures["positions_off"] > 0, verdict


@long
@pytest.mark.parametrize("part", ["nothing", "fence"])
async def test_without_the_fence_a_run_fails(stage: Stage, part: str) -> None:
    """How: a try is held between its reading of the switch and its POST; the switch is engaged; the try goes on.

    With the fence, engaging waits for the try, whose reading is then too old: nothing is sent afterwards.
    """
    hold = stage.data_dir.root / "hold"
    hold.touch()
    trading = Trading(environment(TRADING_DATA_DIR=str(stage.data_dir.root)))
    await stage.restart("execution", argv=broken(part, "execution"), env={HOLD_VARIABLE: str(hold)})
    answer = await stage.gateway.submit_until_taken(new_signal("held", ticker="T0001"))
    assert answer.status_code == 202

    async def reached() -> bool:
        return hold.with_suffix(".reached").exists()

    await until(reached)
    killing = asyncio.create_task(trading("kill", "--json", "--wait-seconds", "0", "--reason", "a test"))
    await asyncio.wait((killing,), timeout=WITHIN_SECONDS if part == "fence" else HOLD_STOPS_THE_KILL_SECONDS)
    if part == "nothing":
        assert not killing.done(), "the kill waits for the fence"
        hold.unlink()
    killed = await killing
    returned_at = (await ledger_of(stage)).seq
    assert killed.code == 0, killed
    hold.unlink(missing_ok=True)
    await until(lambda: settled(stage, 1))
    sent = posts_after(await ledger_of(stage), returned_at)
    assert len(sent) == (1 if part == "fence" else 0)
