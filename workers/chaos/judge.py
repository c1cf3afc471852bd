"""The judge of a fault run: pure functions over the exchange's ledger and our rows, to figures and reasons.

The exchange's word is the truth; our rows are what is judged. Nothing here reads a clock, a file or a database.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import combinations, pairwise
from typing import Any, Final

from risk.day_result import day_result
from schemas.orders import OrderStatus, OrderType, Side
from schemas.wire import Leg, client_order_id
from workers.chaos.ledger import RATE_LIMITED, ZERO, BrokerOrder, Ledger
from workers.chaos.ours import Asked, Books, Ours

GENERATIONS: Final = 6
"""How far an order that our rows do not know is still recognised as of one of our signals."""
AT_WORK: Final = frozenset({OrderStatus.ACKNOWLEDGED, OrderStatus.PARTIALLY_FILLED})
"""What the row of an order says that rests at the broker, and is known to."""
NAMED_MAX: Final = 5
"""Examples in a reason."""
PROVED_BY_LOOK_UPS: Final = 3
HTTP_REFUSED, HTTP_FAILED = 400, 500
CENT: Final = Decimal("0.01")
UNKNOWN: Final = Decimal(1_000_000_000)
"""How far off a result is that cannot be told."""
TICK: Final = Decimal("0.000000001")
BROKER_TYPES: Final[Mapping[OrderType, frozenset[str]]] = {
    OrderType.MARKET: frozenset({"limit"}),
    OrderType.LIMIT: frozenset({"limit"}),
    OrderType.STOP: frozenset({"stop", "stop_limit"}),
    OrderType.STOP_LIMIT: frozenset({"stop_limit"}),
}
"""What each may be at the broker: a MARKET signal goes out with its worst price."""


@dataclass
class Verdict:
    """Figures in their order, and why the verdict is not good."""

    figures: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def must_be_none(self, name: str, found: Collection[str], what: str) -> None:
        """A figure that has to be 0; ``found`` names what makes it more."""
        self.figures[name] = len(found)
        if found:
            named = ", ".join(sorted(found)[:NAMED_MAX])
            self.wrong.append(f"{len(found)} {what}: {named}{' …' if len(found) > NAMED_MAX else ''}")


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Of runs on several installations: every figure is the sum, a table's entry by entry."""
    figures: dict[str, Any] = {}
    for verdict in verdicts:
        for name, value in verdict.figures.items():
            figures[name] = _sum(figures[name], value) if name in figures else value
    return Verdict(figures, [reason for verdict in verdicts for reason in verdict.wrong])


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return {name: one.get(name, 0) + other.get(name, 0) for name in one | other}
    return str(Decimal(one) + Decimal(other)) if isinstance(one, str) else one + other


def judge(ledger: Ledger, ours: Ours, theirs: Books, taken: Collection[str]) -> Verdict:
    """Hold our rows against the ledger; ``taken`` are the signals that the gateway has answered for."""
    verdict = Verdict()
    orders = ledger.top_orders
    verdict.figures |= {"signals": len(taken), "broker_orders": len(orders)}
    rules: tuple[tuple[str, Collection[str], str], ...] = (
        ("duplicates", duplicates(orders, ours), "orders more than once at the broker"),
        ("lost", lost(orders, ours, taken) | unproved(ledger, ours), "lost"),
        ("unapproved", unapproved(orders, ours), "at the broker without an approval that fits"),
        ("unfinished", unfinished(orders, ours), "neither settled nor at rest at the broker"),
        ("reposted_blind", reposted_blind(ledger), "sent again without proof of absence"),
        ("uncovered", uncovered(orders, ours), "whose stops at the broker are not what is held"),
        ("misfilled", misfilled(orders, ours), "with another filled quantity than the broker's"),
        ("overwritten", ours.overwritten, "put right by a reconciliation, not by executions"),
        ("positions_off", positions_off(ours.books, theirs), "positions that are not the broker's"),
    )
    for name, found, what in rules:
        verdict.must_be_none(name, found, what)
    verdict.figures["cash_off"] = str(abs(ours.books.cash - theirs.cash).quantize(CENT))
    if abs(ours.books.cash - theirs.cash) >= CENT:
        verdict.wrong.append(f"cash is {ours.books.cash}, the broker has {theirs.cash}")
    off = result_off(ours.books, theirs)
    verdict.figures["day_result_off"] = str(off.quantize(CENT))
    if off >= CENT:
        verdict.wrong.append(f"the day's result is ${off} off the broker's {theirs.gained}")
    verdict.figures |= outcomes(orders, ours)
    return verdict


def outcomes(orders: Iterable[BrokerOrder], ours: Ours) -> dict[str, Any]:
    """How many signals were approved, filled or at rest, and how our orders ended."""
    approved = {signal_id for signal_id, each in ours.asked.items() if each.approved}
    standing = _standing(orders)
    entries = [row for row in ours.rows if row.leg is Leg.ENTRY and row.signal_id in approved]
    filled = sum(row.status is OrderStatus.FILLED for row in entries)
    resting = sum(row.client_order_id in standing and not row.settled for row in entries)
    statuses = Counter(row.status.value for row in ours.rows)
    return {"approved": len(approved), "filled": filled, "resting": resting, "statuses": dict(statuses)}


def duplicates(orders: Iterable[BrokerOrder], ours: Ours) -> set[str]:
    """Signals (or client_order_ids) with more orders at the broker than there should be.

    An entry is placed once. A stop or exit may follow a former one, after its end, and all together are never
    filled with more than was approved.
    """
    known = _legs_by_id(ours)
    by_id: dict[str, list[BrokerOrder]] = defaultdict(list)
    by_leg: dict[tuple[str, Leg], list[BrokerOrder]] = defaultdict(list)
    for order in orders:
        by_id[order.client_order_id].append(order)
        if order.client_order_id in known:
            by_leg[known[order.client_order_id]].append(order)
    found = {name for name, same in by_id.items() if len(same) > 1}
    for (signal_id, leg), same in by_leg.items():
        together = any(one.overlaps(other) for one, other in combinations(same, 2))
        asked = ours.asked[signal_id]
        wanted = asked.quantity if asked.approved_quantity is None else asked.approved_quantity
        again = leg is Leg.ENTRY and len(same) > 1
        if again or together or sum((order.filled for order in same), ZERO) > wanted:
            found.add(f"{signal_id} ({leg.value})")
    return found


def lost(orders: Iterable[BrokerOrder], ours: Ours, taken: Collection[str]) -> set[str]:
    """Signals that were taken and have vanished, and orders at the broker that our rows do not know."""
    orders = tuple(orders)
    at_broker, standing = {order.client_order_id for order in orders}, _standing(orders)
    entries = {row.signal_id: row for row in ours.rows if row.leg is Leg.ENTRY}
    found = {signal_id for signal_id in taken if signal_id not in entries}
    own = {row.client_order_id for row in ours.rows}
    found |= {order.client_order_id for order in orders if order.client_order_id not in own}
    for row in ours.rows:
        there = row.client_order_id in at_broker
        never = row.status in (OrderStatus.REJECTED, OrderStatus.FATAL_ERROR, OrderStatus.CANCELED)
        approved = ours.asked[row.signal_id].approved
        if not there and approved and row.settled and not never:
            found.add(f"{row.signal_id} is {row.status.value} and not at the broker")
        if there and row.status is OrderStatus.FATAL_ERROR:
            found.add(f"{row.signal_id} is said not to be at the broker, where it is")
        if row.settled and row.client_order_id in standing:
            found.add(f"{row.signal_id} has ended as {row.status.value} and works at the broker")
    return found


def unproved(ledger: Ledger, ours: Ours) -> set[str]:
    """Orders that we ended as not placed although their last POST was sent and nothing proved what we say.

    Proof is a refusal in the answer, or enough look-ups after the POST that found nothing.
    """
    last = {post.client_order_id: post for post in ledger.posts}
    at_broker = {order.client_order_id for order in ledger.top_orders}
    found = set()
    for row in ours.rows:
        post = last.get(row.client_order_id or "")
        if post is None or row.client_order_id in at_broker or not row.status.is_final:
            continue
        looks = sum(name == row.client_order_id and seq > post.seq for seq, name in ledger.absent)
        refused = post.status is not None and HTTP_REFUSED <= post.status < HTTP_FAILED
        if not refused and looks < PROVED_BY_LOOK_UPS:
            found.add(f"{row.signal_id} is {row.status.value} without proof")
    return found


def unapproved(orders: Iterable[BrokerOrder], ours: Ours) -> set[str]:
    """Orders at the broker without an approved decision, a binding to it, and the approved content."""
    found = set()
    for order in orders:
        bound = ours.bound.get(order.client_order_id)
        if bound is None:
            found.add(f"{order.client_order_id} (not bound)")
            continue
        why = _unlike(order, ours.asked[bound[0]], bound[1])
        if why:
            found.add(f"{bound[0]} ({why})")
    return found


def _unlike(order: BrokerOrder, asked: Asked, leg: Leg) -> str:
    """In which fields an order is not what was approved; empty: in none."""
    if not asked.approved:
        return "not approved"
    entry = leg is Leg.ENTRY
    side = asked.action.side if entry else _opposite(asked.action.side)
    quantity, most = order.number("qty"), asked.approved_quantity or ZERO
    checks = {
        "ticker": order.body["symbol"] == asked.ticker,
        "side": order.body["side"] == side.value,
        "quantity": quantity is not None and (quantity == most if entry else quantity <= most),
        "extended hours": bool(order.body.get("extended_hours")) == (asked.extended_hours and entry),
    }
    if entry:
        checks |= {
            "type": order.body["type"] in BROKER_TYPES[asked.order_type],
            "time in force": order.body["time_in_force"] == asked.time_in_force.lower(),
            "stop price": _same(order.number("stop_price"), asked.stop_price),
            "limit price": asked.order_type is OrderType.STOP
            or _same(order.number("limit_price"), asked.approved_limit_price),
        }
    elif leg is Leg.STOP:
        checks["stop price"] = _same(order.number("stop_price"), asked.hard_stop_loss)
    return ", ".join(name for name, right in checks.items() if not right)


def _opposite(side: Side) -> Side:
    return Side.SELL if side is Side.BUY else Side.BUY


def _same(one: Decimal | None, other: Decimal | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) < TICK


def unfinished(orders: Iterable[BrokerOrder], ours: Ours) -> set[str]:
    """Orders that have not come to their settled end, and do not rest at the broker with us knowing it."""
    standing = _standing(orders)
    return {
        f"{row.signal_id} ({row.status.value})"
        for row in ours.rows
        if not row.settled and not (row.status in AT_WORK and row.client_order_id in standing)
    }


def _standing(orders: Iterable[BrokerOrder]) -> set[str | None]:
    return {order.client_order_id for order in orders if order.ended is None}


def reposted_blind(ledger: Ledger) -> set[str]:
    """Ids that were sent again though nothing had shown that the broker does not hold them.

    A 429 was not read by the broker; after anything else a look-up must have found nothing, and an id that the
    broker holds is never sent again.
    """
    absent: dict[str, list[int]] = defaultdict(list)
    for seq, name in ledger.absent:
        absent[name].append(seq)
    by_id: dict[str, list[Any]] = defaultdict(list)
    for post in ledger.posts:
        by_id[post.client_order_id].append(post)
    found = {post.client_order_id for post in ledger.posts if post.duplicate}
    for name, posts in by_id.items():
        for before, after in pairwise(posts):
            looked_up = any(before.seq < seq < after.seq for seq in absent[name])
            if before.status != RATE_LIMITED and not looked_up:
                found.add(name)
    return found


def posts_after(ledger: Ledger, seq: int) -> set[str]:
    """Orders whose POST the exchange received after that record: none may, once a kill has returned."""
    return {post.client_order_id for post in ledger.posts if post.seq > seq}


def misfilled(orders: Iterable[BrokerOrder], ours: Ours) -> set[str]:
    """Orders that were filled otherwise at the broker than our rows say."""
    ours_by_id = {row.client_order_id: row for row in ours.rows if row.client_order_id}
    found = set()
    for order in orders:
        row = ours_by_id.get(order.client_order_id)
        if row is not None and row.filled != order.filled:
            found.add(f"{row.signal_id} (ours {row.filled}, the broker's {order.filled})")
    return found


def uncovered(orders: Iterable[BrokerOrder], ours: Ours) -> set[str]:
    """Signals with an approved stop of which another quantity is covered at the broker than is held.

    Only for runs in which no other signal closes what such a one has opened.
    """
    known = _legs_by_id(ours)
    held: dict[str, Decimal] = defaultdict(Decimal)
    covered: dict[str, Decimal] = defaultdict(Decimal)
    for order in orders:
        signal_id, leg = known.get(order.client_order_id, ("", Leg.ENTRY))
        held[signal_id] += order.filled if leg is Leg.ENTRY else -order.filled
        if leg is Leg.STOP and order.ended is None:
            covered[signal_id] += (order.number("qty") or ZERO) - order.filled
    return {
        f"{signal_id} (held {held[signal_id]}, covered {covered[signal_id]})"
        for signal_id, each in ours.asked.items()
        if each.hard_stop_loss is not None and held[signal_id] != covered[signal_id]
    }


def positions_off(ours: Books, theirs: Books) -> set[str]:
    """Tickers of which we believe to hold another number of shares than the broker says."""
    tickers = ours.shares.keys() | theirs.shares.keys()
    return {each for each in tickers if ours.shares.get(each, ZERO) != theirs.shares.get(each, ZERO)}


def result_off(ours: Books, theirs: Books) -> Decimal:
    """US dollars between the day's results; ours from executions and journal, at the broker's prices.

    The broker counts deposits in.
    """
    if theirs.gained is None:
        return ZERO
    found = day_result(ours.moves, {}, theirs.prices)
    return UNKNOWN if found.result is None else abs(found.result + found.transferred - theirs.gained)


def _legs_by_id(ours: Ours) -> dict[str, tuple[str, Leg]]:
    """Every name that an order of one of our signals can have → that signal and leg."""
    computed = {
        client_order_id(ours.namespace, ours.account, signal_id, leg, generation): (signal_id, leg)
        for signal_id in ours.asked
        for leg in Leg
        for generation in range(GENERATIONS)
    }
    return computed | dict(ours.bound)
