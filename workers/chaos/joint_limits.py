"""``trading chaos --joint-limits N``: 64 approvals at once from four processes, with room for some only, N times.

Each round sets one kind of limit to room for k orders; exactly k must be approved, no limit exceeded at any
decision, and nothing reserved once the orders have ended. With ``--lower`` the limit is lowered while they run.
"""

import argparse
import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from schemas.limits import NewDocument, StrategyLimits, TickerLimits
from schemas.orders import Action
from schemas.risk import AssessmentKind, LimitScope
from storage.database import POOL_MAX, Database
from storage.grants import Role, set_passwords
from storage.migrate import migrate
from storage.risk import live_reservations, read_exposures
from workers import postgres
from workers.chaos.joint_book import Book, End, Proposed
from workers.chaos.joint_judge import HELD, Judge, Told
from workers.chaos.joint_rooms import (
    LOWERED_ROOM_MAX,
    ROOM_MAX,
    ROOMS,
    SIGNALS,
    SLACK_MAX,
    Kind,
    room_for,
    signal_of,
    wide,
)
from workers.chaos.joint_worker import PROCESSES, Worker, worker_processes
from workers.chaos.progress import Meter
from workers.chaos.report import Report
from workers.chaos.victims import StageError
from workers.datadir import temporary_data_dir
from workers.supervisor import Supervisor

ROUND_SECONDS_MAX: Final = 600.0
LOOK_SECONDS: Final = 0.002
WRONG_MAX: Final = 20
TRIES_MAX: Final = 5
ANSWERS: Final = (AssessmentKind.APPROVED.value, AssessmentKind.REJECTED.value)
NOTHING: Final[dict[LimitScope, NewDocument]] = {
    LimitScope.ACCOUNT: wide(),
    LimitScope.STRATEGY: StrategyLimits(),
    LimitScope.TICKER: TickerLimits(),
}
"""What gets in nobody's way."""
# tidy: sql because the run looks how far its processes are, and no process of ours asks this
DECIDED: Final = "select count(*) from decisions where signal_id = any ($1::text[])"


# tidy: sql because four risk workers want more sessions than the two of a deployment, on a server of our own
FOUR_WORKERS: Final = f"alter role {Role.RISK.value} connection limit {PROCESSES * POOL_MAX}"


@dataclass
class _Tally:
    approved: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    rounds: Counter[str] = field(default_factory=Counter)
    decisions: int = 0
    closes: int = 0
    asked_again: int = 0
    lowered: int = 0
    lowered_below_use: int = 0
    lowered_with_room: int = 0
    deciding_seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


def add_options(group: argparse._ArgumentGroup) -> None:
    """The options of this kind of run."""
    group.add_argument("--lower", action="store_true", help="lower the limit while the approvals run")


async def run(options: argparse.Namespace) -> Report:
    """Make the run on a PostgreSQL server of its own.

    Raises:
        StageError: it could not be made.
    """
    with temporary_data_dir() as data_dir:
        # Nothing is killed here, and each decision would wait for the disk with the account's lock held.
        server = await postgres.initialise(data_dir.postgres, durable=False)
        async with Supervisor() as supervisor:
            await supervisor.start(postgres.spec(server, log_path=data_dir.log(postgres.NAME)))
            dsn = await postgres.ensure_database(server)
            await migrate(dsn)
            return await play(
                dsn, await _as_risk(dsn), rounds=options.joint_limits, lower=(options.lower,), seed=options.seed,
                quiet=options.json,
            )  # fmt: skip


async def _as_risk(dsn: str) -> str:
    """The address with the rights of a risk worker, and no more."""
    password = secrets.token_hex(16)
    connection = await asyncpg.connect(dsn)
    await set_passwords(connection, {Role.RISK: password}, datetime.now(UTC))
    await connection.execute(FOUR_WORKERS)
    await connection.close()
    parts = urlsplit(dsn)
    return urlunsplit(
        parts._replace(netloc=f"{Role.RISK.value}:{quote(password)}@{parts.hostname}:{parts.port}")
    )


async def play(
    dsn: str, risk_dsn: str, *, rounds: int, lower: Sequence[bool], seed: int, quiet: bool = True
) -> Report:
    """Play rounds on a migrated database that nobody else uses; the four processes connect by ``risk_dsn``.

    ``lower``: whether the limit is lowered in mid-flight, for round after round in turn.
    """
    dice, tally = random.Random(seed), _Tally()  # noqa: S311 - a run that can be repeated, no secret
    database = await Database.connect(dsn)
    book, began = Book(database), time.monotonic()
    try:
        await book.open()
        await book.refresh()
        async with worker_processes(risk_dsn) as workers:
            table = _Table(database, book, workers, dice, tally)
            with Meter(rounds, quiet=quiet) as meter:
                await book.set(wide(), "", "a run of joint limits")
                for number in range(rounds):
                    async with asyncio.timeout(ROUND_SECONDS_MAX):
                        await table.round(number, lower=lower[number % len(lower)])
                    meter.show(number + 1, f"{sum(tally.approved.values())} approved")
                    if len(tally.wrong) >= WRONG_MAX:
                        break
    except TimeoutError:
        raise StageError(f"a round took more than {ROUND_SECONDS_MAX:g} s") from None
    finally:
        await database.close()
    return _report(tally, lower=any(lower), seed=seed, seconds=time.monotonic() - began)


class _Table:
    """Where the rounds are played."""

    def __init__(
        self, database: Database, book: Book, workers: Sequence[Worker], dice: random.Random, tally: _Tally
    ) -> None:
        self._database = database
        self._book = book
        self._workers = workers
        self._dice = dice
        self._tally = tally
        self._judge = Judge()
        self._set = {(LimitScope.ACCOUNT, "")}
        """Whose limits the last round has set."""

    async def round(self, number: int, *, lower: bool) -> None:
        """One round: room, signals, decisions, judgement, ends."""
        kind = ROOMS[number % len(ROOMS)]
        room = self._dice.randint(1, LOWERED_ROOM_MAX if lower else ROOM_MAX)
        lowered = max(int(kind.counts), self._dice.randrange(room)) if lower else None
        await self._make_room(number, kind, room)
        signals = [signal_of(number, index, kind) for index in range(SIGNALS)]
        await self._book.propose(signals)
        await self._book.refresh()
        ids = [each.signal_id for each in signals]
        lowering = asyncio.create_task(self._lower_in_flight(number, kind, room, lowered, ids))
        answers = await self._decide(ids)
        in_flight = await lowering
        async with self._database.connection() as connection:
            told = await self._judge.read(connection, in_flight=in_flight)
            held, _ = await live_reservations(connection)
        self._count(number, kind, told, answers, held=held)
        self._hold_against(number, kind, room, lowered, told)
        await self._end(number, kind, told.approved)

    def _hold_against(self, number: int, kind: Kind, room: int, lowered: int | None, told: Told) -> None:
        """Exactly as many as there was room for, or as were approved before there was less."""
        if lowered is None:
            expected = room
        elif told.before_lowering is None:
            self._wrong(number, "the limit was not lowered")
            return
        else:
            expected = max(told.before_lowering, lowered)
            self._tally.lowered += 1
            self._tally.lowered_below_use += told.before_lowering > lowered
            self._tally.lowered_with_room += told.before_lowering < room
        if len(told.approved) != expected:
            self._wrong(
                number, f"{len(told.approved)} approved under {kind.name}, there was room for {expected}"
            )

    async def _make_room(self, number: int, kind: Kind, room: int) -> None:
        """Wide limits, and one with room for so many orders."""
        for scope, name in self._set - {(kind.scope, kind.owner)}:
            await self._book.set(NOTHING[scope], name, "out of the way")
        self._set = {(kind.scope, kind.owner)}
        await self._book.set(self._room(number, kind, room), kind.owner, f"room for {room}")

    def _room(self, number: int, kind: Kind, orders: int) -> NewDocument:
        return room_for(number, kind, orders, slack=Decimal(self._dice.randint(1, SLACK_MAX)))

    async def _lower_in_flight(
        self, number: int, kind: Kind, room: int, lowered: int | None, ids: Sequence[str]
    ) -> int | None:
        """Once some of the signals are decided, by a connection of its own; the version."""
        if lowered is None:
            return None
        # Approvals come first, and those who wait for the lock already are before us: half the time at once.
        document, decided = (
            self._room(number, kind, lowered),
            self._dice.choice((0, self._dice.randrange(room))),
        )
        async with self._database.connection() as connection:
            while await connection.fetchval(DECIDED, ids) < decided:
                await asyncio.sleep(LOOK_SECONDS)
        return await self._book.set(document, kind.owner, f"lowered to {lowered} in mid-flight")

    async def _decide(self, ids: Sequence[str]) -> dict[str, str]:
        """What each came to. No decision (a quote too old, a lock waited for too long) is asked for again."""
        began, answers = time.monotonic(), await self._ask(ids)
        self._tally.decisions += len(ids)
        for _ in range(TRIES_MAX):
            undecided = [signal for signal, answer in answers.items() if answer not in ANSWERS]
            if not undecided:
                break
            self._tally.asked_again += len(undecided)
            await self._book.refresh()
            answers |= await self._ask(undecided)
        self._tally.deciding_seconds += time.monotonic() - began
        return answers

    async def _ask(self, ids: Sequence[str]) -> dict[str, str]:
        shares = (ids[number :: len(self._workers)] for number in range(len(self._workers)))
        answers = await asyncio.gather(
            *(worker.assess(share) for worker, share in zip(self._workers, shares, strict=True) if share)
        )
        return {signal: answer for each in answers for signal, answer in each.items()}

    def _count(self, number: int, kind: Kind, told: Told, answers: dict[str, str], *, held: int) -> None:
        self._tally.rounds[kind.name] += 1
        self._tally.approved[kind.name] += len(told.approved)
        for text in told.wrong:
            self._wrong(number, text)
        if held != len(told.approved):
            self._wrong(number, f"{held} reservations for {len(told.approved)} approvals")
        if len(told.approved) + told.refused != SIGNALS:
            self._wrong(number, f"{len(told.approved)} + {told.refused} decisions for {SIGNALS} signals")
        for signal, answer in answers.items():
            expected = "APPROVED" if signal in told.approved else "REJECTED"
            if answer != expected:
                self._wrong(number, f"{signal} was answered {answer}, the audit log has {expected}")

    async def _end(self, number: int, kind: Kind, approved: Sequence[str]) -> None:
        """Every order ends, what was bought is sold under the tightest limits, and nothing is left."""
        ends = {signal: self._dice.choice(list(End)) for signal in approved}
        self._tally.ends.update(end.value for end in ends.values())
        await asyncio.gather(*(self._book.end(signal, end) for signal, end in ends.items()))
        await self._nothing_reserved(number)
        await self._book.set(self._room(number, kind, 0), kind.owner, "nothing may be opened")
        await self._close(number)
        await self._nothing_reserved(number)
        if left := await self._number(HELD):
            self._wrong(number, f"{left} shares are left")

    async def _close(self, number: int) -> None:
        async with self._database.connection() as connection:
            held = [each for each in await read_exposures(connection) if each.held]
        closes = [
            Proposed(
                f"c{number}-{index}", each.strategy, each.ticker, Decimal(99) + Decimal(number % 90) / 100,
                each.held, Action.SELL_TO_CLOSE,
            )
            for index, each in enumerate(held)
        ]  # fmt: skip
        if not closes:
            return
        await self._book.propose(closes)
        answers = await self._decide([each.signal_id for each in closes])
        self._tally.closes += len(closes)
        for signal, answer in answers.items():
            if answer != "APPROVED":
                self._wrong(number, f"close {signal} under lowered limits: {answer}")
                return
        for each in closes:
            await self._book.end(each.signal_id, End.FILLED)

    async def _nothing_reserved(self, number: int) -> None:
        async with self._database.connection() as connection:
            count, dollars = await live_reservations(connection)
        if count or dollars:
            self._wrong(number, f"{count} reservations of ${dollars} are left when every order has ended")

    async def _number(self, statement: str) -> Any:
        async with self._database.connection() as connection:
            return await connection.fetchval(statement)

    def _wrong(self, number: int, text: str) -> None:
        self._tally.wrong.append(f"round {number}: {text}")


def _report(tally: _Tally, *, lower: bool, seed: int, seconds: float) -> Report:
    figures: dict[str, Any] = {
        "rounds": sum(tally.rounds.values()),
        "processes": PROCESSES,
        "at once": SIGNALS,
        "seed": seed,
        "approved": sum(tally.approved.values()),
        "refused": tally.decisions - tally.closes - sum(tally.approved.values()),
        "approved by limit": dict(tally.approved),
        "ended": dict(sorted(tally.ends.items())),
        "closes under lowered limits": tally.closes,
        "asked again": tally.asked_again,
        "seconds": round(seconds, 1),
        "decisions a second": round(tally.decisions / tally.deciding_seconds, 1)
        if tally.deciding_seconds
        else 0,
    }
    if lower:
        figures["lowered in mid-flight"] = tally.lowered
        figures["lowered while there was room"] = tally.lowered_with_room
        figures["lowered below what was in use"] = tally.lowered_below_use
    return Report("joint limits", figures, tuple(tally.wrong))
