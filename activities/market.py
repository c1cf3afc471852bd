"""Market and account as they are right now: fetched for risk, checked right before a POST."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from temporalio import activity

from activities.catch_up import clock_row
from activities.failures import as_failure, try_again
from activities.telling import tell_of_refusal
from broker import lifecycle
from broker.errors import BrokerError
from market.errors import ClockUnavailableError, MarketDataError
from risk import pre_trade
from schemas import wire
from schemas.risk import PreTradeFacts, PreTradeVerdict
from schemas.runs import OrderQuestion, PreTradeAnswer, SessionAnswer
from storage import market as rows
from storage.events import append
from storage.orders import StoredOrder, lock_order, read_order
from storage.placement import read_due, write_pre_trade
from storage.transitions import Step, entry_of, refuse

if TYPE_CHECKING:
    from broker.port import BrokerReader
    from market.clock import MarketClock
    from market.hours import MarketHours, TradingHours
    from market.source import QuotePair, QuoteSource
    from observability.metrics import Metrics
    from storage.database import Database

COMPONENT: Final = "ExecutionAgent"
SNAPSHOT_AGE_MAX: Final = timedelta(seconds=30)
"""Half of what risk allows: a younger one is not read again, so a burst of signals costs one request."""


class MarketActivities:
    """Asks market data, the broker's account and the clock. Places nothing."""

    def __init__(
        self,
        database: "Database",
        broker: "BrokerReader",
        clock: "MarketClock",
        hours: "MarketHours",
        quotes: "QuoteSource",
        metrics: "Metrics",
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._broker = broker
        self._clock = clock
        self._hours = hours
        self._quotes = quotes
        self._metrics = metrics
        self._now = now

    @activity.defn(name=wire.ACTIVITY_REFRESH_MARKET)
    async def refresh_market(self, question: OrderQuestion) -> None:
        """Store a fresh quote of the signal's ticker, the clock to judge it by, and the account if it is not fresh.

        Idempotent: rows only ever move to newer facts.

        Raises:
            ApplicationError: broker or every provider gave no answer (its code); ask again.
        """
        async with self._database.connection() as connection:
            order = await read_order(connection, question.signal_id)
        # Facts are stamped by our own clock alone: an argument from outside must not make them look young.
        asked_at = self._now()
        async with self._database.connection() as connection:
            taken_at = (await rows.read_account(connection)).taken_at
        is_fresh = taken_at is not None and timedelta(0) <= asked_at - taken_at < SNAPSHOT_AGE_MAX
        try:
            account = None if is_fresh else await self._broker.get_account()
            quotes = await self._quotes.latest([order.ticker])
            await self._clock.ensure_reading()
        except BrokerError as error:
            raise as_failure(error) from error
        except MarketDataError as error:
            raise try_again(error.code, error.message) from error
        async with self._database.transaction("market.refreshed") as connection:
            if account is not None:
                await rows.save_account(connection, account, taken_at=asked_at)
            await rows.save_quotes(connection, quotes)
            await rows.save_clock_reading(connection, clock_row(self._clock.reading(), self._clock.speed))

    @activity.defn(name=wire.ACTIVITY_CHECK_PRE_TRADE)
    async def check_pre_trade(self, question: OrderQuestion) -> PreTradeAnswer:
        """The last look before an order leaves. A refusal ends the order; a pass is good for 10 s.

        Idempotent: an order that has ended, or may stand at the broker, is answered as it is and nothing is
        written.

        Raises:
            ApplicationError: nobody can say what time it is on the market (ERR_CLOCK); ask again.
        """
        async with self._database.connection() as connection:
            order, decided_at = await read_due(connection, question.signal_id)
        if not _is_due(order) or decided_at is None:
            return PreTradeAnswer(passed=False, order=order.view)
        try:
            pair = await self._quotes.pair(order.ticker, question.as_of)
            hours = await self._hours.at(question.as_of, extended=order.extended_hours)
        except ClockUnavailableError as error:
            raise try_again(error.code, error.message) from error
        facts = _facts(order, decided_at, pair, hours)
        for quote in (facts.primary, facts.secondary):
            if quote is not None:
                age = facts.market_now - quote.quoted_at
                self._metrics.quote_checked(quote.provider.value, age.total_seconds())
        verdict = pre_trade.check(facts)
        return await self._record(order, verdict, pair, hours.wall_now)

    async def _record(
        self, order: StoredOrder, verdict: PreTradeVerdict, pair: "QuotePair", now: datetime
    ) -> PreTradeAnswer:
        quotes = [quote for quote in (pair.primary, pair.secondary) if quote is not None]
        failed = "; ".join(check.formula for check in verdict.checks if not check.passed)
        step = Step(
            now=now,
            component=COMPONENT,
            decision="PRE_TRADE_PASSED" if verdict.passed else "PRE_TRADE_REFUSED",
            detail=failed or "approval, hours, quotes and spread are in order",
            evidence={"quotes": [quote.model_dump(mode="json") for quote in quotes]},
            checks=verdict.checks,
            user_message=verdict.user_message,
        )
        async with self._database.transaction("market.pre_trade") as connection:
            if verdict.passed:
                passed = await write_pre_trade(connection, order, now)
                if passed is not None:
                    await append(connection, entry_of(passed, step))
                    return PreTradeAnswer(passed=True, order=passed.view)
            locked = await lock_order(connection, order.signal_id)
            if verdict.passed or not _is_due(locked.order):
                return PreTradeAnswer(passed=False, order=locked.order.view)
            reasons = [reason.value for reason in verdict.reasons]
            after = await refuse(
                locked, lifecycle.apply(locked.state, lifecycle.Refused(",".join(reasons))), step
            )
        tell_of_refusal("pre-trade refused", after, reasons, verdict.checks)
        return PreTradeAnswer(passed=False, order=after.view)

    @activity.defn(name=wire.ACTIVITY_SESSION)
    async def read_session(self, question: OrderQuestion) -> SessionAnswer:
        """How far the bell of this order's session is, in real seconds. Idempotent: it only reads.

        The bell rings while the broker is silent too: its last word and the calendar tell when.

        Raises:
            ApplicationError: this process has never learned what time it is on the market (ERR_CLOCK); ask again.
        """
        async with self._database.connection() as connection:
            order = await read_order(connection, question.signal_id)
        try:
            hours = await self._hours.bell(question.as_of, extended=order.extended_hours)
        except ClockUnavailableError as error:
            raise try_again(error.code, error.message) from error
        return SessionAnswer(
            closes_in_seconds=hours.closes_in_seconds,
            opens_in_seconds=None if hours.is_open else hours.opens_in_seconds,
        )


def _is_due(order: StoredOrder) -> bool:
    """Whether the next thing that may happen to it is a POST."""
    return not order.status.is_final and not order.may_stand and order.broker_order_id is None


def _facts(
    order: StoredOrder, decided_at: datetime, pair: "QuotePair", hours: "TradingHours"
) -> PreTradeFacts:
    return PreTradeFacts(
        now=hours.wall_now,
        market_now=max(pair.market_now, hours.market_now),
        approved_at=decided_at,
        extended_hours=order.extended_hours,
        is_open=hours.is_open,
        seconds_to_close=hours.seconds_to_close,
        primary=pair.primary,
        secondary=pair.secondary,
        late_providers=pair.late,
        hours_doubt=hours.doubt,
    )
