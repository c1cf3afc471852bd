"""The example signals, made fit for one run of the demonstration."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import Any, Final

from console.common import utc_now
from console.errors import Refused
from console.signal_files import SignalText, as_text

LATER: Final = ("too-much-of-one", "take-profit", "cover", "stale-quote")
"""Sent once the first ones have ended: something must be held, and a quote must have grown old."""
RESTING: Final = ("resting-buy", "stop-buy")
"""They wait at the exchange until an operator cancels them."""
STORY: Final = "thin-book"
"""Whose timeline is told at the end."""
THIN: Final = {
    "symbol": "THIN", "name": "Thin Book Test Issue", "exchange": "NYSE", "price": "25", "size": 40,
}  # fmt: skip
LIMIT_TICKER: Final = "MSFT"
LIMIT_OVER_ASK: Final = Decimal("1.005")
CENT: Final = Decimal("0.01")
SUFFIX_BYTES: Final = 3


@dataclass(frozen=True)
class Examples:
    """One run's signals; their ids end in a suffix of this run, so that a folder may see many runs."""

    first: tuple[SignalText, ...]
    later: tuple[SignalText, ...]
    refused_at_the_door: SignalText
    suffix: str

    @property
    def ids(self) -> tuple[str, ...]:
        """Every signal that the gateway is to take, in the order of the table."""
        return tuple(each.signal_id for each in (*self.first, *self.later))

    def id_of(self, name: str) -> str:
        """The id that example ``name`` has in this run."""
        return f"{name}-{self.suffix}"


def load_examples(ask: Decimal) -> Examples:
    """Read ``examples/signals.json``; one more, a limit just above ``ask`` of ``LIMIT_TICKER``, is made here.

    Raises:
        Refused: the file is not there.
    """
    suffix, now = secrets.token_hex(SUFFIX_BYTES), utc_now()
    limit = (ask * LIMIT_OVER_ASK).quantize(CENT, ROUND_UP)
    above_the_ask = {
        "signal_id": "limit-above-the-ask", "strategy": "momentum", "ticker": LIMIT_TICKER,
        "action": "BUY_TO_OPEN", "order_type": "LIMIT", "quantity": "20", "limit_price": str(limit),
    }  # fmt: skip
    found = [above_the_ask, *_file()]
    first = [each for each in found if each["signal_id"] not in LATER]
    broken = {"strategy": "momentum", "ticker": "aapl", "action": "BUY_TO_OPEN", "quantity": "-1"}
    return Examples(
        first=tuple(_text(each, suffix, now) for each in first),
        later=tuple(_text(each, suffix, now) for each in found if each["signal_id"] in LATER),
        refused_at_the_door=as_text(broken, now),
        suffix=suffix,
    )


def fresh(signals: Sequence[SignalText]) -> list[SignalText]:
    """The same signals with the time of now, for sending them later."""
    return [
        as_text(json.loads(each.text) | {"created_at": utc_now().isoformat()}, utc_now()) for each in signals
    ]


def _text(fields: dict[str, Any], suffix: str, now: datetime) -> SignalText:
    return as_text({**fields, "signal_id": f"{fields['signal_id']}-{suffix}"}, now)


def _file() -> list[dict[str, Any]]:
    here = Path(__file__)
    # Inside an installed package, or beside it in the repository.
    for path in (here.with_name("signals.json"), here.parents[1] / "examples" / "signals.json"):
        if path.is_file():
            found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
            return found
    raise Refused("this installation has no example signals", do="run it from the repository")
