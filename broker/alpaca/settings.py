"""What the adapter needs to know."""

from dataclasses import dataclass

from pydantic import SecretStr

from broker.alpaca.hosts import PAPER_STREAM_URL, PAPER_TRADING_URL, check_stream_url, check_trading_url


@dataclass(frozen=True, slots=True)
class AlpacaSettings:
    """Where the account is and its keys. ``repr`` shows no secret.

    Raises:
        HostRefused: an address that orders may not go to (``LiveHostRefused`` for the live one).
    """

    key_id: SecretStr
    secret_key: SecretStr
    trading_url: str = PAPER_TRADING_URL
    stream_url: str = PAPER_STREAM_URL

    def __post_init__(self) -> None:
        check_trading_url(self.trading_url)
        check_stream_url(self.stream_url)
