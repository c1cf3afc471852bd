"""Orders at a server that stands in for the live brokerage, from real rows: each thing missing keeps one here."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from temporalio.exceptions import ApplicationError

from activities import placement as placing
from activities.live import LiveGuard
from activities.placement import PlacementActivities
from activities.risk import RiskActivities
from broker import permit as permits
from broker.alpaca.trader import AlpacaTrader
from console.person_changes import Change, change
from market.clock import MarketClock
from observability.metrics import Metrics
from schemas.clock import ClockHealth
from schemas.kill import KillCommand
from schemas.live import LiveSeen, LiveSetup, SignedGrant
from schemas.orders import OrderFlag, OrderStatus
from schemas.people import Role
from schemas.runs import OrderQuestion, RiskQuestion
from schemas.wire import Leg
from security.live import LiveDecision, may_trade_live, sign_grant
from storage import placement as rows
from storage import switches
from storage.commits import committing
from storage.database import Database
from storage.live import list_grants, revoke_grants, save_grant
from storage.orders import LockedOrder, lock_order, read_order
from storage.switches import Installation, read_installation
from tests.postgres.audited import audit_differences
from tests.postgres.books import market_clock, prepare, propose, reconciled
from tests.postgres.scripted_broker import NoLimit
from tests.postgres.two_people import person
from tests.servers import live
from tests.servers.approvals import KEYS, SIGNER
from tests.unit.broker_server import ORDER, Request, Server, http, serving


@dataclass
class LiveDesk:
    """An installation at the live brokerage. ``clock`` and ``setup`` are what a test may spoil."""

    database: Database
    server: Server
    market: MarketClock
    installation: Installation
    setup: LiveSetup
    trader: AlpacaTrader
    clock: ClockHealth = live.IN_SYNC

    async def read_clock(self, _: Any) -> ClockHealth:
        return self.clock

    def decide(self, _: LiveSetup, seen: LiveSeen, now: datetime) -> LiveDecision:
        return may_trade_live(self.setup, seen, live.GRANT_KEY, now)

    @property
    def guard(self) -> LiveGuard:
        return LiveGuard(self.setup, self.decide, self.read_clock)

    async def give(self, signed: SignedGrant) -> None:
        async with self.database.transaction("test") as connection:
            await save_grant(connection, signed, component="Console", now=live.now())

    def good(self, **fields: Any) -> SignedGrant:
        whole = {"installation": self.installation.namespace} | fields
        return sign_grant(live.SIGNER, live.grant(live.now(), self.setup.configuration_hash, **whole))

    async def order(self, signal_id: str) -> Any:
        """Proposed, approved by risk, checked, and tried once; as it stands after that."""
        # Of two of the same content the second would be refused for that alone.
        await propose(self.database, signal_id, quantity=10 + int(signal_id[1:]))
        as_of = datetime.now(UTC)
        risk = RiskActivities(
            self.database, self.market, Metrics(), now=lambda: datetime.now(UTC), signer=SIGNER
        )
        await risk.assess_risk(RiskQuestion(signal_id=signal_id, as_of=as_of))
        return await self.place(signal_id)

    async def place(self, signal_id: str, **changes: Any) -> Any:
        async with self.database.transaction("test") as connection:
            await rows.write_pre_trade(connection, await read_order(connection, signal_id), datetime.now(UTC))
        placement = PlacementActivities(
            self.database, self.trader, self.market, self.installation.model_copy(update=changes), Metrics(),
            NoLimit(), KEYS, self.guard,
        )  # fmt: skip
        await placement.place_order(OrderQuestion(signal_id=signal_id, as_of=datetime.now(UTC)))
        async with self.database.connection() as connection:
            return await read_order(connection, signal_id)

    @property
    def posts(self) -> int:
        return sum(1 for each in self.server.requests if each.method == "POST")


async def as_asked(request: Request, writer: Any) -> None:
    """Accept an order as it came."""
    sent = json.loads(request.body)
    told = {name: str(sent[name]) for name in ("client_order_id", "qty", "limit_price", "side", "symbol")}
    fresh = {"id": str(uuid4()), "created_at": datetime.now(UTC).isoformat()}
    writer.write(http(ORDER | told | fresh))


@pytest.fixture
async def desk(database: str) -> AsyncIterator[LiveDesk]:
    opened = await Database.connect(database, fences=True)
    await prepare(opened)
    await reconciled(opened)
    async with opened.transaction("test") as connection:
        # What is prepared is for paper, and bound for ever.
        await connection.execute(
            "update api_tokens set strategies = array['momentum'];"
            "alter table installation disable trigger installation_kept;"
            "update installation set mode = 'live';"
            "alter table installation enable trigger installation_kept"
        )
        bound = await read_installation(connection)
    async with market_clock() as market, serving() as server:
        server.answer = as_asked
        config = live.configuration(server.url, installation=bound.namespace)
        setup = live.setup(server.url, config.hash, installation=bound.namespace)
        trader = AlpacaTrader(live.live_settings(server))
        yield LiveDesk(opened, server, market, bound, setup, trader)
        await trader.close()
    assert await audit_differences(opened, orders=True) == []
    await opened.close()


async def test_with_everything_an_order_leaves_and_each_try_asks_anew(desk: LiveDesk) -> None:
    """How: the same rows, then the grant revoked, then another given, then the kill switch; each time one order."""
    await desk.give(desk.good())
    assert (await desk.order("s1")).status is OrderStatus.ACKNOWLEDGED
    assert desk.posts == 1
    async with desk.database.transaction("test") as connection:
        await revoke_grants(connection, by="anna", reason="enough", component="Console", now=live.now())
    refused = await desk.order("s2")
    assert (refused.status, refused.reason) == (OrderStatus.REJECTED, "LIVE_NOT_PERMITTED")
    assert refused.user_message == "Not placed: live trading is not permitted now."
    assert desk.posts == 1
    at = live.now()
    await desk.give(desk.good(given_at=at, agreed=live.person(live.BERT, at)))
    assert (await desk.order("s3")).status is OrderStatus.ACKNOWLEDGED
    assert desk.posts == 2
    command = KillCommand(reason="test", triggered_by="test")
    async with desk.database.transaction("test") as connection:
        await switches.engage(connection, command, request_id="r", now=live.now(), component="Console")
    assert (await desk.order("s4")).status is OrderStatus.REJECTED
    assert desk.posts == 2


SPOILT: dict[str, dict[str, Any]] = {
    "LIVE_MODE": {"setup": {"asked_for": False}},
    "topology": {"setup": {"isolated": False}},
    "keys": {"setup": {"key_source": "embedded"}},
    "plain payloads": {"setup": {"sealed": False}},
    "configuration": {"setup": {"configuration_hash": "0" * 64}},
    "clock off": {"clock": ClockHealth(in_sync=False, age=timedelta(seconds=1))},
    "clock unknown": {"clock": ClockHealth(in_sync=False)},
    "no grant": {"grant": False},
    "one person": {"fields": lambda at: {"asked": live.person(live.BERT, at - timedelta(minutes=3))}},
    "expired": {"fields": lambda at: {"expires_at": at - timedelta(seconds=90)}},
    "stranger's": {"stranger": True},
}


@pytest.mark.parametrize("name", SPOILT)
async def test_with_one_thing_missing_nothing_leaves(desk: LiveDesk, name: str) -> None:
    case = SPOILT[name]
    signed = desk.good(**case["fields"](live.now()) if "fields" in case else {})
    if case.get("stranger"):
        signed = sign_grant(
            live.STRANGER,
            live.grant(live.now(), desk.setup.configuration_hash, installation=desk.installation.namespace),
        )
    if case.get("grant", True):
        await desk.give(signed)
    desk.setup = LiveSetup.model_validate(desk.setup.model_dump() | case.get("setup", {}))
    desk.clock = case.get("clock", desk.clock)
    refused = await desk.order("s1")
    assert (refused.status, refused.reason) == (OrderStatus.REJECTED, "LIVE_NOT_PERMITTED")
    assert desk.server.requests == []


async def test_what_was_approved_on_paper_leaves_in_no_other_mode(database: str) -> None:
    opened = await Database.connect(database, fences=True)
    await prepare(opened)
    await reconciled(opened)
    async with opened.transaction("test") as connection:
        bound = await read_installation(connection)
    async with market_clock() as market, serving() as server:
        server.answer = as_asked
        config = live.configuration(server.url, installation=bound.namespace)
        setup = live.setup(server.url, config.hash, installation=bound.namespace)
        trader = AlpacaTrader(live.live_settings(server))
        desk = LiveDesk(opened, server, market, bound.model_copy(update={"mode": "live"}), setup, trader)
        await desk.give(desk.good())
        refused = await desk.order("s1")
        assert (refused.status, refused.reason) == (OrderStatus.REJECTED, "APPROVAL_FORGED")
        assert server.requests == []
        await trader.close()
    await opened.close()


async def test_a_wrong_clock_holds_up_no_stop(desk: LiveDesk) -> None:
    """As it does on paper, and as the alert of it says."""
    await desk.give(desk.good())
    await desk.order("s1")
    desk.clock = ClockHealth(in_sync=False)
    async with desk.database.transaction("test") as connection:
        locked = await lock_order(connection, "s1")
        for leg in (Leg.STOP, Leg.EXIT):
            reduces = locked.order.model_copy(update={"leg": leg})
            assert await desk.guard.permit(LockedOrder(connection, reduces, locked.state), live.now())
        with pytest.raises(rows.IntentRefused):
            await desk.guard.permit(locked, live.now())


async def test_a_permit_that_ages_before_the_first_byte_is_asked_for_anew(
    desk: LiveDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: permits are good for no time at all; then as always."""
    await desk.give(desk.good())
    monkeypatch.setattr(permits, "PERMIT_SECONDS_MAX", 0)
    with pytest.raises(ApplicationError, match="too old") as waits:
        await desk.order("s1")
    assert (waits.value.type, waits.value.non_retryable) == ("LIVE_NOT_PERMITTED", False)
    async with desk.database.connection() as connection:
        order = await read_order(connection, "s1")
    assert (order.status.is_final, order.may_stand, desk.posts) == (False, False, 0)
    monkeypatch.undo()
    assert (await desk.place("s1")).status is OrderStatus.ACKNOWLEDGED
    assert desk.posts == 1


async def test_a_stop_waits_until_it_may_leave(desk: LiveDesk) -> None:
    await desk.order("s1")
    async with desk.database.transaction("test") as connection:
        locked = await lock_order(connection, "s1")
        stop = locked.order.model_copy(update={"leg": Leg.STOP})
        with pytest.raises(ApplicationError, match="nobody has granted it") as waits:
            await desk.guard.permit(LockedOrder(connection, stop, locked.state), live.now())
    assert waits.value.type == "LIVE_NOT_PERMITTED"


async def test_a_refusal_ends_no_order_that_another_try_has_sent_meanwhile(
    desk: LiveDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: between the two transactions of a refusal it is granted, and another try sends and hears no answer."""

    @asynccontextmanager
    async def overtaken(connection: Any, name: str) -> AsyncIterator[None]:
        if name == "placement.intent_refused":
            monkeypatch.undo()
            await desk.give(desk.good())
            await desk.place("s1")
        async with committing(connection, name):
            yield

    async def silent(_: Request, writer: Any) -> None:
        writer.close()

    desk.server.answer = silent
    monkeypatch.setattr(placing, "committing", overtaken)
    left = await desk.order("s1")
    assert desk.posts == 1
    assert (left.status, left.flags, left.settled) == (
        OrderStatus.SUBMITTED,
        (OrderFlag.OUTCOME_UNKNOWN,),
        False,
    )


async def test_who_would_place_live_without_anybody_to_ask_is_not_built(desk: LiveDesk) -> None:
    for mode, guard in (("live", None), ("paper", desk.guard)):
        with pytest.raises(ValueError, match="somebody to ask"):
            PlacementActivities(
                desk.database, desk.trader, desk.market, desk.installation.model_copy(update={"mode": mode}),
                Metrics(), NoLimit(), KEYS, guard,
            )  # fmt: skip


async def test_a_revoked_grant_and_a_bound_mode_stay_whoever_writes(desk: LiveDesk) -> None:
    await desk.give(desk.good())
    async with desk.database.connection() as connection:
        for change in ("document = '{}'", "expires_at = expires_at + interval '1 h'", "signature = 'x'"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="stays"):
                await connection.execute(f"update live_grants set {change}")
        await revoke_grants(connection, by="anna", reason="enough", component="Console", now=live.now())
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="stays revoked"):
            await connection.execute(
                "update live_grants set revoked_at = null, revoked_by = null, revoke_reason = null"
            )
        for change in ("mode = 'paper'", "account = 'A2'", "account = null, mode = null"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="for ever"):
                await connection.execute(f"update installation set {change}")
        assert await revoke_grants(connection, by="x", reason="y", component="Console", now=live.now()) == ()
        [row] = await list_grants(connection)
    assert (row.revoked_by, row.grant.asked.name) == ("anna", "person 1")


@pytest.mark.parametrize(
    ("what", "role"), [(Change.ROLE, Role.RISK), (Change.DISABLE, None), (Change.RESET, None)]
)
async def test_a_grant_ends_with_each_of_the_two_who_gave_it(
    desk: LiveDesk, what: Change, role: Role | None
) -> None:
    """How: four Admins, a grant of two; then one of them, or one who had no part in it, is changed."""
    people = [await person(desk.database, name, Role.ADMIN) for name in ("ann", "bob", "eve", "joe")]
    ann, bob = people[0].person_id, people[1].person_id
    assert ann is not None
    assert bob is not None
    for name, gone in (("eve", False), ("ann", True), ("bob", True)):
        at = live.now()
        await desk.give(
            desk.good(
                given_at=at, asked=live.person(ann, at - timedelta(minutes=3)), agreed=live.person(bob, at)
            )
        )
        async with desk.database.connection() as connection:
            done = await change(
                connection, what, name, by="joe", now=live.now(), role=role, secret=f"link-{name}"
            )
            decision = await desk.guard.ask(connection, live.now())
        assert (decision.permit is None) is gone, name
        assert ("granted no more" in done.detail) is gone


async def test_every_audit_row_says_its_mode_last(desk: LiveDesk) -> None:
    """Also where a strategy's own references say another."""
    await propose(desk.database, "s1", references=("mode paper",))
    async with desk.database.connection() as connection:
        found = await connection.fetch("select decision, refs from audit_log order by id")
    bound = next(n for n, row in enumerate(found) if row["decision"] == "INSTALLATION_BOUND")
    modes = [json.loads(row["refs"])[-1] for row in found]
    assert set(modes[:bound]) <= {"mode unbound"}
    assert (modes[bound], modes[-1]) == ("mode paper", "mode live")
    assert set(modes) <= {"mode unbound", "mode paper", "mode live"}
    accepted = next(row for row in found if row["decision"] == "SIGNAL_ACCEPTED")
    assert json.loads(accepted["refs"]) == ["mode paper", "mode live"]
