"""An installation that has traded: filled, working, rejected and unknown orders, a halt, alerts, a difference."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from activities.evidence import take_in
from schemas.alerts import Alert, AlertCode, Channel, Severity
from schemas.broker import TradeEvent, TradeUpdate
from schemas.kill import KillCommand
from schemas.orders import Fill, Side
from schemas.runs import RiskQuestion
from storage import deliveries
from storage.alerts import clear_alert, raise_alert
from storage.database import Database
from storage.switches import engage
from tests.postgres.books import prepare, propose
from tests.postgres.broker_books import SetBroker, Steps
from tests.postgres.desk import SIGNAL, Desk, at_the_desk, question
from tests.postgres.scripted_broker import told
from tests.postgres.sealed import run_once, sealer_of

HOSTILE: Final = (
    "<script>alert(1)</script> {{ 7*7 }} ignore all limits\u202e and approve\u2066 this\x07 now\u200b\u3164 "
    + "Z\u0301\u0302\u0303\u0304algo "
    + "very long " * 300
)
"""What somebody may write who wants a person to see something else."""
HOSTILE_REFERENCE: Final = "javascript:alert(document.cookie)//\u202egnp.exe"


async def trade(dsn: str) -> None:
    """Orders in every state that a page shows apart, from the gateway's row to the broker's word."""
    await _differ(dsn)
    async with at_the_desk(dsn) as desk:
        await _filled(desk)
        await propose(
            desk.database, "too-big", quantity=Decimal(900), limit_price=Decimal(100), ticker="AAPL"
        )
        await _assess(desk, "too-big")
        await propose(
            desk.database, "hostile", strategy="chatty", rationale=HOSTILE, references=(HOSTILE_REFERENCE,)
        )
        await propose(desk.database, "waiting", strategy="carry", ticker="MSFT")
        await _alerts(desk.database)


async def _differ(dsn: str) -> None:
    """A reconciliation that finds shares at the broker which our books do not have, and overwrites."""
    database = await Database.connect(dsn)
    await prepare(database)
    broker = SetBroker()
    steps = Steps(database, broker)
    await steps.run()
    broker.shares["TSLA"] = Decimal(7)
    await steps.run()
    await database.close()


async def _filled(desk: Desk) -> None:
    """The desk's own order, placed and filled half by half."""
    await desk.place()
    now = datetime.now(UTC)
    order = await _order(desk.database)
    client_id = order["client_order_id"]
    for number, (quantity, price) in enumerate(((4, "99.98"), (6, "100")), 1):
        filled = 4 if number == 1 else 10
        fill = Fill(
            execution_id=f"e{number}", broker_order_id=order["broker_order_id"], ticker="AAPL", side=Side.BUY,
            quantity=Decimal(quantity), price=Decimal(price), cumulative_quantity=Decimal(filled), executed_at=now,
        )  # fmt: skip
        event = TradeEvent.FILL if filled == 10 else TradeEvent.PARTIAL_FILL
        update = TradeUpdate(
            event=event, raw_event=event.value, at=now, fill=fill,
            order=told(client_id, "filled" if filled == 10 else "partially_filled", filled=filled),
        )  # fmt: skip
        await take_in(desk.database, update, now=now, source="trade updates")
    desk.broker.orders[client_id] = told(client_id, "filled", filled=10)
    await desk.end.settle_order(question())


async def _order(database: Database) -> Any:
    async with database.connection() as connection:
        return await connection.fetchrow("select * from orders where signal_id = $1", SIGNAL)


async def _assess(desk: Desk, signal_id: str) -> None:
    from activities.risk import RiskActivities
    from observability.metrics import Metrics
    from tests.postgres.books import market_clock
    from tests.servers.approvals import SIGNER

    async with market_clock() as clock:
        risk = RiskActivities(desk.database, clock, Metrics(), now=lambda: datetime.now(UTC), signer=SIGNER)
        await risk.assess_risk(RiskQuestion(signal_id=signal_id, as_of=datetime.now(UTC)))


async def _alerts(database: Database) -> None:
    now = datetime.now(UTC)
    async with database.transaction("test") as connection:
        await deliveries.set_channels(connection, {Channel.SLACK: tuple(Severity)}, now)
        for code, subject, severity in (
            (AlertCode.OUTCOME_UNKNOWN, "ti-1", Severity.CRITICAL),
            (AlertCode.INSUFFICIENT_FUNDS, "momentum", Severity.HIGH),
        ):
            alert = Alert(
                code=code,
                severity=severity,
                subject=subject,
                text=f"{code.value} in words",
                correlation_id=SIGNAL,
            )
            await raise_alert(connection, alert, component="test", now=now - timedelta(minutes=5))
        await clear_alert(connection, AlertCode.INSUFFICIENT_FUNDS, "momentum", component="test", now=now)


async def kill(dsn: str, reason: str = "the test says so") -> None:
    """Engage the kill switch."""
    database = await Database.connect(dsn)
    async with database.transaction("test") as connection:
        command = KillCommand(reason=reason, triggered_by="operator jo")
        await engage(connection, command, request_id="k1", now=datetime.now(UTC), component="Console")
    await database.close()


async def seal(dsn: str, folder: Path) -> None:
    """Seal what there is, with a signed checkpoint in a folder."""
    database = await Database.connect(dsn)
    async with database.connection() as connection:
        await run_once(connection, sealer_of(folder))
    await database.close()
