"""One running paper exchange: book, market, clock and ledger joined, and the beat that moves time."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from random import SystemRandom
from typing import Any

from simulation.book import Book
from simulation.clock import ExchangeClock
from simulation.core import Emitted, FollowUp
from simulation.engine import Engine
from simulation.events import AccountOpened, OrderCreated, OrderExecuted, encode
from simulation.faults import Fate, Fault, Frame, FrameFacts, OrderFacts, SocketFacts
from simulation.ids import Ids
from simulation.injecting import Faults, Injected
from simulation.keys import AcceptedKeys
from simulation.ledger import Ledger
from simulation.market import Market
from simulation.rate_limit import RateLimit
from simulation.recorded import load_recordings
from simulation.restore import next_moment, restore
from simulation.sessions import AlwaysOpenSessions, CalendarSessions, Sessions
from simulation.settings import ExchangeSettings
from simulation.wire import json_bytes, rfc3339, to_ns

BEAT_SECONDS = 0.025
MILLISECOND = 0.001

UpdateListener = Callable[[int, dict[str, Any]], None]
BeatListener = Callable[[datetime], None]


class Exchange:
    """Build with ``Exchange(settings)``, then ``await start()`` inside the event loop it shall live in."""

    def __init__(self, settings: ExchangeSettings) -> None:
        self.settings = settings
        self.ledger = Ledger(settings.data_dir)
        self.sessions: Sessions = (
            CalendarSessions() if settings.session == "calendar" else AlwaysOpenSessions()
        )
        try:
            self._recordings = load_recordings(settings.market)
            restored = restore(self.ledger)
        except BaseException:
            self.ledger.release()
            raise
        wall = datetime.now(UTC)
        start = next_moment(restored, settings, self.sessions, wall, self._recordings)
        self.clock = ExchangeClock(start, settings.speed)
        self.summary = restored.summary
        self.keys = AcceptedKeys(settings.key, settings.secret)
        for record in restored.key_controls:
            self.keys.replay(record)
        self.book: Book = restored.book
        self.faults = Faults(settings.fault_seed)
        if settings.fault_plan is not None:
            self.faults.add_plan(settings.fault_plan)
        self.trading_limit = RateLimit(settings.requests_per_minute)
        self.data_limit = RateLimit(settings.data_requests_per_minute)
        self.stopping = asyncio.Event()
        self.failure: BaseException | None = None
        self.state_seq = self.ledger.last_seq
        self._restored = restored
        self._ids = Ids()
        if restored.last_event_id:
            self._ids.resume_after(restored.last_event_id)
        # The quote each symbol's orders met last, and the moment up to which all have been looked at.
        self._matched: dict[str, int] = {}
        self._looks_again: dict[str, int] = {}
        self._market_changes = 0
        self._matched_until_ns = self.clock.now_ns()
        self._update_listeners: list[UpdateListener] = []
        self._beat_listeners: list[BeatListener] = []
        self._beating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the account if the ledger is new, note the clock's start, and let time run."""
        now = self.clock.now()
        if not self.book.account_id:
            self._open_account(now)
        self.market = Market(
            self.settings.universe(),
            self.sessions,
            seed=self.settings.seed,
            opened_at=self._opened_at(),
            recordings=self._recordings,
        )
        for record in self._restored.market_controls:
            self.market.replay_control(record)
        self.engine = Engine(
            self.book,
            self.market,
            self.sessions,
            self._ids,
            limited=self.settings.partial_fills == "displayed_size",
        )
        self.note_clock("start")
        self.step()
        await self.ledger.durable(self.ledger.last_seq)
        self._beating = asyncio.create_task(self._beat())
        self._beating.add_done_callback(self._beat_ended)

    async def stop(self) -> None:
        """Stop time and close the ledger; everything appended is on disk afterwards."""
        self.stopping.set()
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        if self.failure is None:
            self.note_clock("stop")
        await self.ledger.close()

    def on_update(self, listener: UpdateListener) -> None:
        """Call ``listener(seq, update)`` for each trade update; publish only once ``seq`` is durable."""
        self._update_listeners.append(listener)

    def on_beat(self, listener: BeatListener) -> None:
        self._beat_listeners.append(listener)

    def commit(self) -> None:
        """Put what the engine did into the ledger, tell the listeners, schedule the venue's answers."""
        emitted, follow_ups = self.engine.drain()
        for item in emitted:
            self.state_seq = self.ledger.append(encode(item.event))
            self._count(item)
            if item.update is not None:
                for listener in self._update_listeners:
                    listener(self.state_seq, item.update)
            if isinstance(item.event, OrderExecuted):
                self._regret(item.event)
        for follow_up in follow_ups:
            self._schedule(follow_up)

    def record(self, kind: str, **fields: Any) -> int:
        """Append a record that is no book event, stamped with market, wall and monotonic time."""
        record = {
            "kind": kind,
            "at": rfc3339(self.clock.now()),
            "wall": rfc3339(datetime.now(UTC)),
            "monotonic_ns": time.monotonic_ns(),
            **fields,
        }
        self.summary.add(record)
        return self.ledger.append(json_bytes(record))

    def note_clock(self, reason: str) -> int:
        return self.record("clock", reason=reason, speed=self.clock.speed, pid=os.getpid())

    def step(self) -> None:
        """Bring the exchange up to now: sessions, expiries, and every quote with orders waiting on it."""
        now = self.clock.now()
        now_ns = to_ns(now)
        self.engine.advance(now)
        if self._market_changes != self.market.changes:
            self._market_changes = self.market.changes
            self._looks_again.clear()
        for symbol, open_ids in list(self.book.open_by_symbol.items()):
            if open_ids and self._looks_again.get(symbol, 0) <= now_ns:
                self._match_new_quotes(symbol, now)
        self._matched_until_ns = now_ns
        self.commit()
        for listener in self._beat_listeners:
            listener(now)

    def _match_new_quotes(self, symbol: str, now: datetime) -> None:
        now_ns = to_ns(now)
        for quote in self.market.new_quotes(symbol, self._matched_until_ns, now_ns):
            if self._matched.get(symbol) != quote.version:
                self._matched[symbol] = quote.version
                self.engine.venue.match(symbol, now, quote)
        self._looks_again[symbol] = self.market.next_change(symbol, now_ns)

    async def _beat(self) -> None:
        while True:
            self.step()
            await asyncio.sleep(BEAT_SECONDS)

    def _beat_ended(self, beating: asyncio.Task[None]) -> None:
        if not beating.cancelled() and (error := beating.exception()) is not None:
            # An exchange whose time stands still would answer lies.
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self.stopping.set()

    def _opened_at(self) -> datetime:
        assert self.book.created_at is not None
        return self.book.created_at

    def _open_account(self, now: datetime) -> None:
        number = "PA" + "".join(SystemRandom().choices("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ", k=10))
        opened = AccountOpened(
            at=now,
            account_id=self._ids.uuid(),
            account_number=number,
            cash=self.settings.cash,
            multiplier=self.settings.multiplier,
            shorting_enabled=self.settings.shorting_enabled,
        )
        self.book.apply(opened)
        self.state_seq = self.ledger.append(encode(opened))

    def _count(self, item: Emitted) -> None:
        match item.event:
            case OrderCreated(order=order):
                counted: dict[str, Any] = {
                    "client_order_id": order.client_order_id,
                    "parent_id": order.parent_id,
                }
                self.summary.add({"kind": "order_created", "order": counted})
            case OrderExecuted():
                self.summary.add({"kind": "order_executed"})
            case _:
                self.summary.add({"kind": "other"})

    def _schedule(self, follow_up: FollowUp) -> None:
        latency_ms = (
            self.settings.venue_latency_ms
            if follow_up.action == "acknowledge"
            else self.settings.cancel_latency_ms
        )
        asyncio.get_running_loop().call_later(latency_ms * MILLISECOND, self._follow, follow_up)

    def _follow(self, follow_up: FollowUp, *, faultless: bool = False) -> None:
        """Let the venue answer; an error here means the exchange can no longer be trusted."""
        if self.stopping.is_set():
            return
        try:
            if faultless or not self._venue_fails(follow_up):
                self._answer(follow_up)
            self.commit()
        except Exception as error:
            self._fail(error)
            raise

    def _answer(self, follow_up: FollowUp) -> None:
        now = self.clock.now()
        if follow_up.action == "acknowledge":
            self.engine.venue.acknowledge(follow_up.order_id, now)
        else:
            self.engine.venue.confirm_cancel(follow_up.order_id, now)

    def _regret(self, executed: OrderExecuted) -> None:
        """Have the venue take an execution back or correct it, if a fault wants that."""
        order = self.book.orders[executed.order_id]
        injected = self.faults.for_execution(OrderFacts(order.client_order_id, order.symbol))
        if injected is None:
            return
        self._note_fault(injected, order_id=order.id, execution_id=executed.execution_id)
        amend = partial(self._amend, injected.fault, executed.execution_id)
        asyncio.get_running_loop().call_later((injected.fault.latency_ms or 0) * MILLISECOND, amend)

    def _amend(self, fault: Fault, execution_id: str) -> None:
        now = self.clock.now()
        # Taken back by hand meanwhile, or too many shares: then there is nothing to do.
        with contextlib.suppress(LookupError, ValueError):
            if fault.action == "bust_fill":
                self.engine.bust(execution_id, now, told=True)
            else:
                self.engine.correct(execution_id, now, qty=fault.qty, price=fault.price, told=True)
        self.commit()

    def _venue_fails(self, follow_up: FollowUp) -> bool:
        """Whether a fault took this answer's place."""
        order = self.book.orders[follow_up.order_id]
        facts = OrderFacts(order.client_order_id, order.symbol)
        if follow_up.action == "acknowledge":
            injected = self.faults.for_acknowledgement(facts)
        else:
            injected = self.faults.for_cancel(facts)
        if injected is None:
            return False
        self._note_fault(injected, order_id=order.id)
        fault = injected.fault
        if fault.action == "reject_order":
            self.engine.venue.reject(order.id, self.clock.now())
        elif fault.latency_ms is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(fault.latency_ms * MILLISECOND, partial(self._follow, follow_up, faultless=True))
        return True

    def frame_fate(self, facts: FrameFacts, frame: Frame) -> Fate:
        """What becomes of a frame on its way out."""
        fate, injected = self.faults.for_frame(facts, frame)
        if injected is not None:
            self._note_fault(injected, stream=facts.stream, event=facts.event)
        return fate

    def refuses_socket(self, facts: SocketFacts) -> bool:
        """Whether a fault wants this handshake refused."""
        injected = self.faults.for_socket(facts)
        if injected is not None:
            self._note_fault(injected, stream=facts.stream)
        return injected is not None

    def _note_fault(self, injected: Injected, **where: Any) -> None:
        self.record("fault", action=injected.fault.action, **injected.source(), **where)
