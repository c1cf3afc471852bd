"""What the adapter needs to know."""

from dataclasses import dataclass

from pydantic import SecretStr

from broker.alpaca.hosts import (
    ALPACA_LIVE,
    PAPER_STREAM_URL,
    PAPER_TRADING_URL,
    LiveHostRefused,
    LiveHosts,
    mode_of,
)
from schemas.mode import Mode


@dataclass(frozen=True, slots=True)
class AlpacaSettings:
    """Where the account is and its keys. ``repr`` shows no secret.

    Raises:
        HostRefused: an address that orders may not go to (``LiveHostRefused`` for the live one without leave).
    """

    key_id: SecretStr
    secret_key: SecretStr
    trading_url: str = PAPER_TRADING_URL
    stream_url: str = PAPER_STREAM_URL
    live_set_up: bool = False
    """This process may read and cancel at the live brokerage. To place there each order needs its own permit."""
    live_hosts: LiveHosts = ALPACA_LIVE

    def __post_init__(self) -> None:
        if self.mode is Mode.LIVE and not self.live_set_up:
            raise LiveHostRefused(
                "this is the live brokerage, and live trading is not set up; only paper trading is possible: use "
                f"{PAPER_TRADING_URL}"
            )

    @property
    def mode(self) -> Mode:
        """By the addresses alone."""
        return mode_of(self.trading_url, self.stream_url, self.live_hosts)
