"""``trading chaos --kill-switch N``: the kill switch is engaged N times at random moments, and released each time.

Orders leave and rest all the while, and many activations fall between a POST and its answer. The exchange's ledger
judges: see `workers.chaos.kill_judge`. ``--variants`` adds what else may be broken at that moment.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from simulation.settings import synthetic_symbols
from workers.chaos.doors import new_signal
from workers.chaos.kill_judge import Activation, Verdict, judge
from workers.chaos.kill_operator import Operator
from workers.chaos.kill_variants import NAMES, Variant, make_variants
from workers.chaos.ledger import Ledger
from workers.chaos.progress import Meter
from workers.chaos.report import Report, too_long
from workers.chaos.rows import count_moving
from workers.chaos.stage import Stage, staged

TICKERS: Final = 40
EXCHANGE: Final = (f"--tickers={TICKERS}", "--cash=10000000", "--requests-per-minute=60000")
SLOW_SHARE: Final = 0.5
"""Of the activations, those made while a POST is kept waiting for its answer."""
SLOW_MS: Final = (300, 1200)
IN_FLIGHT_WITHIN_SECONDS: Final = 10.0
PHASE_SECONDS_MAX: Final = 0.4
"""From the load of an activation to the activation, by chance."""
RESTING_BELOW: Final = 0.8
"""Times the price of the start."""
SWEPT_WITHIN_SECONDS: Final = 60.0
CALM_WITHIN_SECONDS: Final = 180.0
POLL_SECONDS: Final = 0.01
COMMAND: Final = "trading kill"
CLI_EVERY: Final = 25
COMMAND_EVERY: Final = 25
ROW_EVERY: Final = 100
LOAD_AFTER_EVERY: Final = 3
"""Of every so many activations, one that is followed by signals before it is released."""
ACTIVATIONS_FULL: Final = 1000
MINUTES_MAX: Final = 30
"""Of so many activations with all variants, on two cores."""
UNANSWERED_LEAST: Final = 0.3
BY_COMMAND_LEAST: Final = 0.02


@dataclass(frozen=True)
class Wanted:
    """The run that was asked for."""

    activations: int
    seed: int
    topology: str
    variants: tuple[str, ...]
    quiet: bool
    keep: Path | None = None
    commands: Any = None
    """Other commands for processes of ours: tests patch parts of the product out."""


def add_options(group: Any) -> None:
    """The options of this kind of run."""
    group.add_argument(
        "--variants",
        type=_names,
        default=(),
        metavar="NAMES",
        help=f"also these, by comma, or all: {', '.join(NAMES)}",
    )


def _names(text: str) -> tuple[str, ...]:
    names = NAMES if text == "all" else tuple(text.split(","))
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"no such variant: {', '.join(sorted(unknown))}")
    return names


async def run(options: argparse.Namespace) -> Report:
    """Make the run and judge it."""
    return await storm(
        Wanted(
            options.kill_switch, options.seed, options.topology, options.variants, options.json, options.keep
        )
    )  # fmt: skip


async def storm(wanted: Wanted) -> Report:
    """The whole run: activations and their judgement, then the variants, on a stage of their own."""
    began = time.monotonic()
    stages = staged(
        topology=wanted.topology, exchange_options=(*EXCHANGE, f"--seed={wanted.seed}"),
        commands=wanted.commands, keep=wanted.keep,
    )  # fmt: skip
    async with stages as stage, Operator(stage) as operator:
        made = _Storm(stage, operator, wanted)
        with Meter(wanted.activations, quiet=wanted.quiet) as meter:
            await made.rage(meter)
        verdict = await made.judged()
        verdict.figures["seconds"] = round(time.monotonic() - began, 1)
    for each in await _variants(wanted):
        verdict.figures[f"variant {each.name}"] = each.figures
        verdict.wrong += [f"variant {each.name}: {reason}" for reason in each.wrong]
    if wanted.activations >= ACTIVATIONS_FULL:
        verdict.wrong += too_long(time.monotonic() - began, MINUTES_MAX)
    return Report(kind="kill_switch", figures=verdict.figures, wrong=tuple(verdict.wrong))


async def _variants(wanted: Wanted) -> list[Variant]:
    """Isolated, whatever the storm was: each process is one that can be broken alone."""
    if not wanted.variants:
        return []
    keep = None if wanted.keep is None else wanted.keep / "variants"
    async with staged(exchange_options=EXCHANGE, keep=keep) as stage, Operator(stage) as operator:
        return await make_variants(stage, operator, wanted.variants)


class _Storm:
    """One run on its stage."""

    def __init__(self, stage: Stage, operator: Operator, wanted: Wanted) -> None:
        self._stage = stage
        self._operator = operator
        self._wanted = wanted
        self._random = Random(wanted.seed)  # noqa: S311 - it must be repeatable
        self._symbols = synthetic_symbols(TICKERS)
        self._sent = 0
        self._rejected: dict[str, int] = {}
        self.done: list[Activation] = []

    async def rage(self, meter: Meter) -> None:
        """Load, activation, sweep, release: again and again, one after the other."""
        for number in range(self._wanted.activations):
            self.done.append(await self._once(number))
            meter.show(len(self.done), "activations")

    async def _once(self, number: int) -> Activation:
        slow = self._random.random() < SLOW_SHARE
        latency_ms = self._random.randint(*SLOW_MS) if slow else None
        if latency_ms is not None:
            fault = {
                "match": {"method": "POST", "path": "/v2/orders"}, "action": "latency_ms", "times": 2,
                "latency_ms": latency_ms,
            }  # fmt: skip
            await self._stage.exchange.control("faults", fault)
        await self._load()
        if latency_ms is not None:
            await self._until_in_flight()
            await asyncio.sleep(self._random.uniform(0, latency_ms / 1000 * 0.8))
        else:
            await asyncio.sleep(self._random.uniform(0, PHASE_SECONDS_MAX))
        activation = await self._activate(number)
        await self._stage.exchange.clear_faults()
        return await self._release(activation)

    async def _release(self, activation: Activation) -> Activation:
        """The activation, judged until the try that released it began."""
        engaged_until = activation.confirmed_seq

        async def note() -> None:
            nonlocal engaged_until
            engaged_until = await self._seq()

        await self._operator.release(note)
        return replace(activation, released_seq=engaged_until)

    async def _load(self) -> None:
        """One order that rests, one that is filled, both at once; they are on their way while we go on."""
        await asyncio.gather(*(self._submit(rests=each) for each in (True, False)))

    async def _submit(self, *, rests: bool) -> None:
        self._sent += 1
        # Two halves of the market: what rests never meets what trades.
        half = TICKERS // 2
        symbol = self._symbols[(self._sent // 2) % half + (half if rests else 0)]
        fields: dict[str, Any] = {"ticker": symbol.symbol, "quantity": str(self._random.randint(1, 9))}
        if rests:
            price = (
                f"{float(symbol.price) * RESTING_BELOW:.2f}"  # tidy: float because a price far away will do
            )
            fields |= {"order_type": "LIMIT", "limit_price": price}
        await self._stage.gateway.submit_until_taken(new_signal(f"kill-{self._sent:06d}", **fields))

    async def _until_in_flight(self) -> None:
        """Until a POST is out; an order that was refused before its POST must not keep the run waiting."""
        with suppress(TimeoutError):
            async with asyncio.timeout(IN_FLIGHT_WITHIN_SECONDS):
                while not await self._in_flight():
                    await asyncio.sleep(POLL_SECONDS)

    async def _in_flight(self) -> frozenset[str]:
        # tidy: sql because no process of ours asks this
        sql = "select client_order_id from orders where post_open and posting_deadline > clock_timestamp()"
        return frozenset(row["client_order_id"] for row in await (await self._operator.rows).fetch(sql))

    async def _seq(self) -> int:
        """The newest record that the exchange has on disk: whatever it has answered is not after it."""
        answer = await self._stage.exchange.ask("GET", "/_exchange/health")
        return int(answer["ledger_seq"])

    async def _activate(self, number: int) -> Activation:
        operator = self._operator
        epoch = (await operator.state()).epoch
        began_seq, in_flight = await self._seq(), await self._in_flight()
        began = time.monotonic()
        how = await self._engage(number)
        loads = number % LOAD_AFTER_EVERY == 2
        if how != COMMAND:
            if loads:
                await self._load()
            await operator.until_returned(epoch)
        # The command itself says when no order can leave any more: nobody waits for the fence in its place.
        returned, returned_seq = time.monotonic(), await self._seq()
        if how == COMMAND and loads:
            await self._load()
        state = await operator.until_swept(SWEPT_WITHIN_SECONDS)
        confirmed_seq = await self._seq()
        return Activation(
            number=number,
            how=how,
            began_seq=began_seq,
            returned_seq=returned_seq,
            confirmed_seq=confirmed_seq,
            released_seq=confirmed_seq,
            returned_seconds=returned - began,
            confirmed_seconds=time.monotonic() - began if state.sweep_confirmed else None,
            fates=state.fates,
            in_flight=in_flight,
        )

    async def _engage(self, number: int) -> str:
        """By one of the ways there are."""
        if number % CLI_EVERY == 1:
            text = self._random.choice((None, '{"reason": "a fault run"}', '"stop"', "42"))
            await self._operator.by_temporal(text=text)
            return "temporal workflow signal"
        if number % COMMAND_EVERY == 2:
            done = await self._operator.trading(
                "kill", "--reason", "a fault run", "--wait-seconds", "0", "--json"
            )
            assert done.code == 0, done
            return COMMAND
        if number % ROW_EVERY == 3:
            await self._operator.by_row()
            return "row alone"
        await self._operator.by_sdk(reason="a fault run", triggered_by="chaos")
        return "signal"

    async def judged(self) -> Verdict:
        """The verdict on this run, and on whether it was one."""
        moving = await self._calm()
        ledger = Ledger()
        async for record in self._stage.exchange.read():
            ledger.add(record)
        verdict = judge(ledger, self.done)
        verdict.figures |= {"signals": self._sent, "unfinished": moving, "ended": await self._endings()}
        if moving:
            verdict.wrong.append(f"{moving} orders have not come to an end")
        verdict.wrong += wrong_run(verdict.figures, self._wanted.activations)
        return verdict

    async def _calm(self) -> int:
        moving = 1
        with suppress(TimeoutError):
            async with asyncio.timeout(CALM_WITHIN_SECONDS):
                while moving := await count_moving(await self._operator.rows):
                    await asyncio.sleep(POLL_SECONDS * 10)
        return moving

    async def _endings(self) -> dict[str, int]:
        # tidy: sql because the judge reads with the owner's rights, and no process of ours runs this
        sql = "select status, coalesce(reason, '') as reason, count(*) as count from orders group by 1, 2"
        found = await (await self._operator.rows).fetch(sql)
        return {" ".join(filter(None, (row["status"], row["reason"]))): row["count"] for row in found}


def wrong_run(figures: dict[str, Any], wanted: int) -> Sequence[str]:
    """Why this run shows too little, whatever its verdict; a short one needs no share of each."""
    wrong = []
    if figures["activations"] < wanted:
        wrong.append(f"{figures['activations']} activations of {wanted} were made")
    if figures["while_a_post_was_unanswered"] < int(UNANSWERED_LEAST * wanted):
        wrong.append(f"only {figures['while_a_post_was_unanswered']} while a POST was unanswered")
    wrong += [
        f"only {figures['by'].get(how, 0)} by `{how}`"
        for how in ("temporal workflow signal", "trading kill")
        if figures["by"].get(how, 0) < int(BY_COMMAND_LEAST * wanted)
    ]
    return wrong
