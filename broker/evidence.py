"""What each status word of the broker means, and which of two words is the later truth.

The words are Alpaca's (docs, "Orders at Alpaca", order lifecycle); other brokers translate into them.
"""

from dataclasses import dataclass

from schemas.orders import OrderFlag, OrderStatus

_NO_FLAGS: frozenset[OrderFlag] = frozenset()


@dataclass(frozen=True, slots=True)
class RawStatus:
    """``status`` None: says nothing about the status. ``flags`` None: says nothing about the flags.

    ``rank`` orders words that cannot follow one another backwards: 0 before the venue's answer,
    1 working, above that ended, in FIX precedence.
    """

    status: OrderStatus | None
    rank: int
    flags: frozenset[OrderFlag] | None = _NO_FLAGS

    @property
    def is_final(self) -> bool:
        return self.rank > WORKING


NOT_YET_WORKING = 0
WORKING = 1
_UNKNOWN = RawStatus(None, WORKING, None)

_WORDS: dict[str, RawStatus] = {
    **dict.fromkeys(
        ("accepted", "pending_new", "accepted_for_bidding", "pending_review", "held"),
        RawStatus(OrderStatus.ACKNOWLEDGED, NOT_YET_WORKING),
    ),
    **dict.fromkeys(("new", "stopped"), RawStatus(OrderStatus.ACKNOWLEDGED, WORKING)),
    "partially_filled": RawStatus(OrderStatus.PARTIALLY_FILLED, WORKING),
    "suspended": RawStatus(None, WORKING, frozenset({OrderFlag.SUSPENDED})),
    "pending_cancel": RawStatus(None, WORKING, frozenset({OrderFlag.PENDING_CANCEL})),
    "pending_replace": RawStatus(None, WORKING, frozenset({OrderFlag.PENDING_REPLACE})),
    **dict.fromkeys(
        ("done_for_day", "calculated"), RawStatus(None, WORKING, frozenset({OrderFlag.DONE_FOR_DAY}))
    ),
    # Ended under this id; the chain goes on under its successor.
    "replaced": RawStatus(None, 2),
    "rejected": RawStatus(OrderStatus.REJECTED, 3),
    "expired": RawStatus(OrderStatus.CANCELED, 4),
    "canceled": RawStatus(OrderStatus.CANCELED, 5),
    "filled": RawStatus(OrderStatus.FILLED, 6),
}


def known_status(raw: str | None) -> RawStatus:
    """What the word means. An unknown word means "working, nothing changed"."""
    return _WORDS.get(raw or "", _UNKNOWN)


def takes_over(raw: str) -> bool:
    """Whether an order of this status that replaces another has taken its place."""
    return known_status(raw).rank >= WORKING and raw != "rejected"


def broker_flags(raw: str | None) -> frozenset[OrderFlag] | None:
    """The flags this word stands for, or None where it says nothing about them."""
    return known_status(raw).flags


def raw_wins(raw: str, *, over: str | None, provably_older: bool) -> bool:
    """Whether ``raw`` is the later truth than ``over``.

    Ended words never give way to working ones and among themselves follow FIX precedence. Working words:
    the last told wins, unless it is provably older (it counts fewer shares than already known).
    """
    if over is None:
        return True
    new, old = known_status(raw).rank, known_status(over).rank
    if new > WORKING or old > WORKING:
        return new > old
    return new >= old and not provably_older
