"""No word of a signal moves risk: over two hundred hostile ones, by the real gateway, risk and database."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

import asyncpg
import httpx2
import pytest

from activities.risk import RiskActivities
from activities.starter import OrderStarter
from gateway.app import build_app
from gateway.deps import GatewayDeps
from gateway.signals_in import check_times, parse_signal
from market.clock import MarketClock
from observability.metrics import Metrics
from schemas.conduct import StopCause, StrategyStop
from schemas.risk import AssessmentKind
from schemas.runs import RiskQuestion
from storage.conduct import stop_strategy
from storage.database import Connection, Database
from storage.grants import Role
from storage.signals import accept_signal, find_token
from tests.gateway.conftest import RecordingStarter, bearer
from tests.hostile.signals import KINDS, WORDS, Fate, Hostile, base, hostile
from tests.postgres.books import LIMITS, TOKEN, prepare
from tests.servers.approvals import SIGNER

LIMITS_MET: Final = """
    select count(*) from decisions d join signals s using (signal_id)
    where d.approved and not (
        d.quantity <= 1000 and d.quantity * d.limit_price <= 25000 and s.ticker = 'AAPL'
        and s.action = 'BUY_TO_OPEN' and d.limit_price <= 102 and not s.extended_hours
        and s.strategy = 'momentum' and s.hard_stop_loss is null
    )
"""
"""Approvals that some limit of these signals forbids: computed from rows, not by risk."""


@dataclass
class StillClock:
    """A market whose time stands still, so that decisions can be compared byte for byte."""

    instant_now: datetime

    async def ensure_reading(self) -> None: ...

    def instant(self, _: datetime) -> datetime:
        return self.instant_now

    def at(self, _: datetime) -> datetime:
        return self.instant_now


@dataclass
class Door:
    """A gateway, and the risk manager behind it."""

    database: Database
    http: httpx2.AsyncClient
    risk: RiskActivities
    at: datetime

    async def send(self, body: bytes) -> httpx2.Response:
        headers = bearer(TOKEN) | {"Content-Type": "application/json"}
        return await self.http.post("/v1/signals", content=body, headers=headers)

    async def judged(self, signal_id: str) -> tuple[AssessmentKind, tuple[str, ...]]:
        question = RiskQuestion(signal_id=signal_id, as_of=self.at, refreshes=2)
        found = await self.risk.assess_risk(question)
        return found.kind, found.reasons


@asynccontextmanager
async def at_the_door(dsn: str) -> AsyncIterator[Door]:
    database = await Database.connect(dsn)
    await prepare(database)
    at = datetime.now(UTC)
    stop = StrategyStop(
        strategy="stopped",
        since=at - timedelta(hours=1),
        cause=StopCause.BY_HAND,
        reason="test",
        stopped_by="test",
    )
    async with database.transaction("test") as connection:
        await stop_strategy(connection, stop, component="Console", evidence={}, correlation_id="stopped")
    deps = GatewayDeps(
        database=database, dsn=dsn, starter=cast(OrderStarter, RecordingStarter()), render_metrics=lambda: b""
    )
    transport = httpx2.ASGITransport(app=build_app(deps), raise_app_exceptions=False)
    clock = cast(MarketClock, StillClock(at))
    risk = RiskActivities(database, clock, Metrics(), now=lambda: at, signer=SIGNER)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as http:
        yield Door(database, http, risk, at)
    await database.close()


async def test_no_hostile_signal_passes_a_limit(database: str) -> None:
    async with at_the_door(database) as door:
        plain = {}
        for number, (kind, changes) in enumerate(KINDS.items()):
            body = json.dumps(base(f"plain-{number}", **changes)).encode()
            assert (await door.send(body)).status_code == 202
            plain[kind] = await door.judged(f"plain-{number}")
        assert plain.pop("good") == (AssessmentKind.APPROVED, ())
        assert {kind: found[0] for kind, found in plain.items()} == dict.fromkeys(
            plain, AssessmentKind.REJECTED
        )
        wrong, met = [], Counter[Fate]()
        for each in hostile():
            if told := await fate_of(door, each, plain):
                wrong.append(f"{each.name}: {told}")
            met[each.fate] += 1
        assert wrong == []
        assert sum(met.values()) >= 200
        assert min(met.values()) >= len(WORDS)
        async with door.database.connection() as connection:
            stored = await connection.fetchval("select count(*) from signals")
            assert stored == len(KINDS) * (1 + len(WORDS))
            assert await connection.fetchval(LIMITS_MET) == 0
            assert await connection.fetchval("select count(*) from decisions where approved") == 1 + len(
                WORDS
            )
            assert await connection.fetchval("select count(*) from limits") == 1
            assert not await connection.fetchval("select engaged from kill_switch")


async def fate_of(door: Door, each: Hostile, plain: dict[str, Any]) -> str | None:
    """What was wrong with what became of it."""
    answer = await door.send(each.body)
    if each.fate is Fate.REFUSED:
        return (
            None if 400 <= answer.status_code < 500 else f"answered {answer.status_code} {answer.text[:99]}"
        )
    if answer.status_code != 202:
        return f"answered {answer.status_code} {answer.text[:99]}"
    found = await door.judged(answer.json()["signal_id"])
    if each.fate is Fate.AS_PLAIN:
        return None if found == (AssessmentKind.APPROVED, ()) else f"judged {found}"
    return None if found == plain[each.plain] else f"judged {found}, without words {plain[each.plain]}"


@pytest.mark.parametrize("kind", ["good", "too many shares", "far above the market"])
async def test_words_alone_change_no_byte_of_a_decision(
    database: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: the same signal with other words, each in a transaction that is taken back; what is random is fixed, so
    that the approval's signature too must be the same."""
    monkeypatch.setattr("activities.risk.uuid4", lambda: UUID(int=1))
    monkeypatch.setattr("activities.approvals.secrets.token_hex", lambda _: "0" * 32)
    async with at_the_door(database) as door, door.database.connection() as connection:
        created_at = door.at.isoformat()
        seen = {
            words: await decision(
                door, connection, base("s", created_at=created_at, **KINDS[kind]) | words_of(words)
            )
            for words in (None, "harmless", *WORDS.values())
        }
    assert len(set(seen.values())) == 1, "words have moved a decision"
    [told] = set(seen.values())
    assert json.loads(told)["approved"] is (kind == "good")


def words_of(words: str | None) -> dict[str, Any]:
    return {} if words is None else {"rationale": words, "references": [words[:200]]}


async def decision(door: Door, connection: Connection, fields: dict[str, Any]) -> str:
    """The decision's whole row as text."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        token = await find_token(connection, TOKEN, door.at)
        assert token is not None
        signal = parse_signal(json.dumps(fields).encode())
        until = check_times(signal, door.at).valid_until
        new = await accept_signal(connection, signal, token, valid_until=until, now=door.at, traceparent=None)
        assert new
        await door.risk._decide(connection, RiskQuestion(signal_id="s", as_of=door.at, refreshes=2))
        found: str = await connection.fetchval(
            "select row_to_json(d)::text from decisions d where signal_id = 's'"
        )
        return found
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("role", [Role.RISK, Role.EXECUTION])
async def test_free_text_cannot_be_read_by_who_decides_or_sends(database: str, role: Role) -> None:
    async with at_the_door(database) as door:
        await door.send(json.dumps(base("s", rationale="read me", references=["and me"])).encode())
        async with door.database.connection() as connection, connection.transaction():
            await connection.execute(f"set local role {role}")
            for column in ("document", "s", "s.*", "to_jsonb(s)", "document ->> 'rationale'"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with connection.transaction():
                        await connection.fetch(f"select {column} from signals s")
            for table in ("events", "audit_log", "audit_payloads"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with connection.transaction():
                        await connection.fetch(f"select * from {table}")


def test_the_limits_of_the_judge_are_those_in_force() -> None:
    assert (LIMITS["max_order_quantity"], LIMITS["max_order_notional"]) == ("1000", "25000")
    assert Decimal(LIMITS["price_collar_pct"]) == 2, "of a mid of 100"
