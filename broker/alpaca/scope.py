"""What a key may do, as far as Alpaca shows it: by the letters its id begins with.

No request is made for it, and there is no call in this project that could move money out of an account.
"""

from enum import StrEnum
from typing import Final

from broker.alpaca.hosts import PAPER_TRADING_URL


class KeyScope(StrEnum):
    """The kinds of keys that Alpaca gives out."""

    PAPER = "paper trading"
    LIVE = "live trading"
    TRANSFERS = "accounts and transfers"
    """A key of the Broker API, which opens accounts and moves money."""
    UNKNOWN = "unknown"


_BEGINNINGS: Final = {"PK": KeyScope.PAPER, "AK": KeyScope.LIVE, "CK": KeyScope.TRANSFERS}


class KeyScopeRefused(ValueError):
    """This key may do more than, or something else than, what it is here for."""


def key_scope(key_id: str) -> KeyScope:
    """What Alpaca gave this key for."""
    return _BEGINNINGS.get(key_id[:2], KeyScope.UNKNOWN)


def check_scope(key_id: str, trading_url: str) -> KeyScope:
    """Return the key's scope if it is not too wide for ``trading_url``. A local exchange takes any.

    Raises:
        KeyScopeRefused: it may move money, or it is for live trading and the address is not.
    """
    scope = key_scope(key_id)
    if scope is KeyScope.TRANSFERS and not _is_local(trading_url):
        raise KeyScopeRefused(
            "the broker key is one of the Broker API, which may transfer money: use a key of the Trading API"
        )
    if scope is KeyScope.LIVE and trading_url == PAPER_TRADING_URL:
        raise KeyScopeRefused("the broker key is for live trading, the address for paper: use a paper key")
    return scope


def _is_local(url: str) -> bool:
    return url.startswith("http://")
