"""What must hold of every activation of the kill switch, by the exchange's ledger and by what the sweep said."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.kill import OrderFate
from workers.chaos.killer import percentiles
from workers.chaos.ledger import BrokerOrder, Ledger

CANCELED: Final = frozenset({"canceled", "expired", "rejected", "replaced"})
SHOWN_MAX: Final = 5


@dataclass(frozen=True, kw_only=True)
class Activation:
    """One activation, from just before it to just before its release. ``…_seq`` are places in the ledger."""

    number: int
    how: str
    began_seq: int
    returned_seq: int
    """The command has answered, or the row is engaged and the fence was free."""
    confirmed_seq: int
    """The sweep has said its last word."""
    released_seq: int
    """Just before the release was asked for that was granted."""
    returned_seconds: float
    confirmed_seconds: float | None
    """None: the sweep was not confirmed in time."""
    fates: Mapping[str, OrderFate] = field(default_factory=dict)
    in_flight: frozenset[str] = frozenset()
    """client_order_ids whose POST had no answer when it began."""


@dataclass
class Verdict:
    figures: dict[str, Any]
    wrong: list[str]


def judge(ledger: Ledger, activations: Sequence[Activation]) -> Verdict:
    """The figures of the run, and every activation that let an order through or lost one from sight."""
    orders = [order for order in ledger.top_orders if order.ours]
    posted = {post.seq: post.client_order_id for post in ledger.posts}
    late, lost, lies = [], [], []
    fates: Counter[str] = Counter()
    for each in activations:
        late += [
            f"activation {each.number} ({each.how}): {post.client_order_id} was received after it had returned"
            for post in ledger.posts
            if each.returned_seq < post.seq and post.arrived_after < each.released_seq
        ]
        open_then = [order for order in orders if stood(order, each)]
        lost += [
            f"activation {each.number}: {order.client_order_id} stayed open and was not named"
            for order in open_then
            if not _ended_by(order, each.confirmed_seq) and order.client_order_id not in each.fates
        ]
        fates.update(_outcome(order, each) for order in open_then)
        lies += _lies(each, {order.client_order_id: order for order in orders})
    unanswered = [each for each in activations if was_unanswered(each, posted)]
    confirmed = [each.confirmed_seconds for each in activations if each.confirmed_seconds is not None]
    figures = {
        "activations": len(activations),
        "by": dict(Counter(each.how for each in activations)),
        "while_a_post_was_unanswered": len(unanswered),
        "posts": len(posted),
        "posts_after_return": len(late),
        "open_orders": sum(fates.values()),
        "became": dict(fates),
        "not_named": len(lost),
        "misnamed": len(lies),
        "unconfirmed": len(activations) - len(confirmed),
        "returned_seconds": percentiles(each.returned_seconds for each in activations),
        "last_cancel_confirmed_seconds": percentiles(confirmed),
    }
    wrong = [text for found in (late, lost, lies) for text in found[:SHOWN_MAX]]
    wrong += [
        f"activation {each.number} ({each.how}): the sweep was not confirmed"
        for each in activations
        if each.confirmed_seconds is None
    ]
    return Verdict(figures, wrong)


def stood(order: BrokerOrder, activation: Activation) -> bool:
    """Whether the order was open at the exchange when the activation began, or came to it before it returned."""
    return order.seq <= activation.returned_seq and not _ended_by(order, activation.began_seq)


def was_unanswered(activation: Activation, posted: Mapping[int, str]) -> bool:
    """Whether the exchange answered a POST only after the activation had begun that had left before."""
    later = {name for seq, name in posted.items() if activation.began_seq < seq <= activation.returned_seq}
    return bool(later & activation.in_flight)


def _ended_by(order: BrokerOrder, seq: int) -> bool:
    return order.ended is not None and order.ended <= seq


def _outcome(order: BrokerOrder, activation: Activation) -> str:
    if _ended_by(order, activation.confirmed_seq):
        return "filled" if order.status == "filled" else "cancelled"
    fate = activation.fates.get(order.client_order_id)
    return "lost from sight" if fate is None else f"told as {fate.value}"


def _lies(activation: Activation, orders: Mapping[str, BrokerOrder]) -> list[str]:
    """Fates that the ledger contradicts: as it ended, or because it had not ended yet when that was told."""
    wanted = {OrderFate.FILLED: frozenset({"filled"}), OrderFate.CANCELED: CANCELED}
    found = []
    for name, fate in activation.fates.items():
        if not fate.is_end or name not in orders:
            continue
        order = orders[name]
        if order.status not in wanted[fate] or not _ended_by(order, activation.confirmed_seq):
            told = f"{name} was told as {fate.value}, the exchange says {order.status}"
            found.append(f"activation {activation.number}: {told} (its end is record {order.ended})")
    return found
