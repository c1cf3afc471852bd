"""An order as a broker lives it: lines of a small script become its messages, and what its REST API shows.

new | accepted | pending_new | done_for_day | suspended | stopped | calculated | expired | canceled | rejected
trade E1 2000 @ 50       an execution
bust E1                  the venue takes it back
correct E1 F1 1500 @ 50  F1 takes its place
pending_cancel | cancel_rejected
pending_replace | propose Y 12000 | replaced Y | new Y | rejected Y | replace_rejected
restated 9000 | restated         another quantity, or only working again
asked | unknown          our own word: a cancel was asked for; the POST's answer was lost
status                   a look-up
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from broker import lifecycle
from broker.lifecycle import Update
from schemas.broker import TradeEvent, TradeUpdate
from schemas.orders import BrokerOrder, Fill, Side

OPENED = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)
FIRST = "X"
PENDING = ("pending_cancel", "pending_replace", "done_for_day", "suspended")
ENDED = ("canceled", "expired", "rejected", "replaced")
EVENTS = {"cancel_rejected": "order_cancel_rejected", "replace_rejected": "order_replace_rejected"}
OWN: dict[str, Update] = {"asked": lifecycle.CancelRequested(), "unknown": lifecycle.OutcomeUnknown()}


@dataclass(frozen=True)
class Standing:
    """One broker id of the order."""

    quantity: Decimal
    raw: str = "pending_new"
    replaces: str | None = None
    replaced_by: str | None = None


class Life:
    """Speaks the script line by line. ``prefix`` keeps the ids of several orders apart."""

    def __init__(self, quantity: Decimal, *, prefix: str = "", client_order_id: str = "ti-1") -> None:
        self._prefix = prefix
        self._client_order_id = client_order_id
        self._orders = {FIRST: Standing(quantity)}
        self._now = FIRST
        self._good: dict[str, Fill] = {}
        self._ids: dict[str, str] = {}
        self._lines = 0

    def say(self, line: str) -> Update:
        """The message of one line."""
        self._lines += 1
        verb, *words = line.split()
        if verb in OWN:
            return OWN[verb]
        match verb, words:
            case "status", []:
                return self._snapshot(self._now)
            case "trade", [name, quantity, "@", price]:
                return self._trade(name, Decimal(quantity), Decimal(price))
            case "bust", [name]:
                return self._amend("trade_bust", name, self._good.pop(name))
            case "correct", [name, own, quantity, "@", price]:
                return self._correct(name, own, Decimal(quantity), Decimal(price))
            case "propose", [name, quantity]:
                self._orders[name] = Standing(Decimal(quantity), replaces=self._now)
                return self._event("pending_new", name)
            case "replaced", [name]:
                self._put(self._now, raw="replaced", replaced_by=name)
                return self._event("replaced", self._now)
            case "restated", quantity:
                raw = "partially_filled" if self._filled else "new"
                whole = [Decimal(each) for each in quantity] or [self._orders[self._now].quantity]
                self._put(self._now, raw=raw, quantity=whole[0])
                return self._event(verb, self._now)
            case _, [name]:
                self._now = name if verb == "new" else self._now
                return self._word(verb, name)
        return self._word(verb, self._now)

    def rest(self) -> list[Update]:
        """What a catch-up reads now: the fill list, every id of the chain, and the list again."""
        rows: list[Update] = [
            fill.model_copy(update={"execution_id": None, "activity_id": f"row-{fill.execution_id}"})
            for fill in self._good.values()
        ]
        chain: list[Update] = [self._snapshot(name) for name in self._orders if self._took_place(name)]
        return [*rows, *chain, *rows]

    def _took_place(self, name: str) -> bool:
        return name in (FIRST, self._now) or self._orders[name].replaced_by is not None

    @property
    def _filled(self) -> Decimal:
        return sum((fill.quantity for fill in self._good.values()), Decimal(0))

    def _word(self, verb: str, name: str) -> TradeUpdate:
        raw = verb
        if verb in EVENTS:
            whole = self._filled >= self._orders[name].quantity
            raw = "filled" if whole else "partially_filled" if self._filled else "new"
        elif verb == "new" and self._filled:
            # A replacement goes on from what is filled.
            raw = "filled" if self._filled >= self._orders[name].quantity else "partially_filled"
        self._put(name, raw=raw)
        return self._event(EVENTS.get(verb, verb), name)

    def _trade(self, name: str, quantity: Decimal, price: Decimal) -> TradeUpdate:
        fill = self._fill(name, quantity, price, self._filled + quantity)
        self._good[name] = fill
        standing = self._orders[self._now]
        whole = self._filled >= standing.quantity
        if standing.raw not in ENDED and (whole or standing.raw not in PENDING):
            self._put(self._now, raw="filled" if whole else "partially_filled")
        return self._event("fill" if whole else "partial_fill", self._now, fill)

    def _correct(self, name: str, own: str, quantity: Decimal, price: Decimal) -> TradeUpdate:
        gone = self._good.pop(name)
        corrected = self._fill(own, quantity, price, self._filled + quantity)
        self._good[own] = corrected
        told = corrected.model_copy(
            update={"execution_id": gone.execution_id, "correction_id": corrected.execution_id}
        )
        return self._amend("trade_correct", name, told)

    def _amend(self, event: str, name: str, told: Fill) -> TradeUpdate:
        standing = self._orders[self._now]
        if standing.raw == "filled" and self._filled < standing.quantity:
            self._put(self._now, raw="partially_filled" if self._filled else "new")
        elif standing.raw == "partially_filled" and not self._filled:
            self._put(self._now, raw="new")
        return self._event(event, self._now, told.model_copy(update={"executed_at": self._at}))

    def _fill(self, name: str, quantity: Decimal, price: Decimal, cumulative: Decimal) -> Fill:
        return Fill(
            execution_id=self._prefix + name,
            broker_order_id=self._prefix + self._now,
            ticker="AAPL",
            side=Side.BUY,
            quantity=quantity,
            price=price,
            cumulative_quantity=cumulative,
            executed_at=self._at,
        )

    @property
    def _at(self) -> datetime:
        return OPENED + timedelta(seconds=self._lines)

    def _put(self, name: str, **changed: object) -> None:
        self._orders[name] = replace(self._orders[name], **changed)  # type: ignore[arg-type]

    def _snapshot(self, name: str) -> BrokerOrder:
        standing = self._orders[name]
        counts = standing.replaces is None or self._took_place(name)
        return BrokerOrder(
            broker_order_id=self._prefix + name,
            client_order_id=self._client_order_id if name == FIRST else f"{self._client_order_id}-{name}",
            ticker="AAPL",
            side=Side.BUY,
            raw_type="limit",
            raw_time_in_force="day",
            raw_status=standing.raw,
            quantity=standing.quantity,
            filled_quantity=self._filled if counts else Decimal(0),
            limit_price=Decimal(100),
            created_at=OPENED,
            updated_at=self._at,
            replaces=standing.replaces and self._prefix + standing.replaces,
            replaced_by=standing.replaced_by and self._prefix + standing.replaced_by,
        )

    def _event(self, event: str, name: str, fill: Fill | None = None) -> TradeUpdate:
        known = TradeEvent(event) if event in set(TradeEvent) else TradeEvent.OTHER
        return TradeUpdate(event=known, raw_event=event, at=self._at, order=self._snapshot(name), fill=fill)


def live(lines: Sequence[str], quantity: Decimal, **named: str) -> tuple[list[Update], list[Update]]:
    """The messages of a whole script, and what a catch-up reads at its end."""
    life = Life(quantity, **named)
    messages = [life.say(line) for line in lines]
    return messages, life.rest()
