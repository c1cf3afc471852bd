"""Alpaca's market data over HTTP, through the unmodified SDK, and the way to its stream."""

import asyncio
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from market.alpaca_parse import BadQuoteError, http_error, quote_from
from market.clock import utc_now
from market.constants import CALL_SECONDS, HTTP_THREADS, TICKERS_PER_REQUEST
from market.errors import FeedNetworkError, FeedUnreadableError, MarketDataError
from observability.logging import get_logger
from schemas.market import Provider, Quote

if TYPE_CHECKING:
    from market.alpaca_stream import AlpacaQuoteStream

_LATEST_QUOTES: Final = "/stocks/quotes/latest"
_log = get_logger(__name__)


Keys = Callable[[], tuple[SecretStr, SecretStr]]
"""Key id and secret, as they are now. Any thread may ask."""


@dataclass(frozen=True, slots=True)
class AlpacaDataSettings:
    """Where one provider's data comes from."""

    url: str
    """Of the REST service, without path: ``https://data.alpaca.markets``."""
    stream_url: str
    """Used as it stands: ``wss://stream.data.alpaca.markets/v2/iex``."""
    feed: str
    """``iex``, ``sip``, …: always sent, because the default depends on the subscription."""
    key_id: SecretStr
    secret_key: SecretStr
    provider: Provider = Provider.PRIMARY


class AlpacaMarketData:
    """One provider. Owns its threads; ``close`` ends them. The SDK is imported at the first question."""

    def __init__(self, settings: AlpacaDataSettings, keys: Keys | None = None) -> None:
        """``keys`` tells those that are current; by default the settings', for ever."""
        self._settings = settings
        self._keys = keys or (lambda: (settings.key_id, settings.secret_key))
        self._stream: AlpacaQuoteStream | None = None
        self._closing: asyncio.Task[None] | None = None
        self._local = threading.local()
        self._threads = ThreadPoolExecutor(
            max_workers=HTTP_THREADS, thread_name_prefix=f"market-{settings.provider.value}"
        )

    async def latest_quotes(self, tickers: Collection[str]) -> dict[str, Quote]:
        """The last quote of each ticker. One unknown to the provider, or unreadable, is missing.

        Raises:
            MarketDataError: the provider gave no usable answer to all of it.
        """
        wanted = sorted(set(tickers))
        quotes: dict[str, Quote] = {}
        for start in range(0, len(wanted), TICKERS_PER_REQUEST):
            quotes |= await self._ask(wanted[start : start + TICKERS_PER_REQUEST])
        return quotes

    def stream_quotes(self) -> "AlpacaQuoteStream":
        """A new connection, to be entered with ``async with``."""
        from market.alpaca_stream import AlpacaQuoteStream

        one = self._settings
        self._stream = AlpacaQuoteStream(one.stream_url, *self._keys(), one.provider)
        return self._stream

    def drop_stream(self) -> None:
        """The keys were replaced: whoever reads the newest stream is to connect again, with the new ones."""
        if self._stream is not None:
            self._closing = asyncio.ensure_future(self._stream.__aexit__())

    async def close(self) -> None:
        """Accept no more questions; those under way end within their timeouts."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, tickers: Sequence[str]) -> dict[str, Quote]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                body = await loop.run_in_executor(self._threads, self._get, tickers)
        except TimeoutError as error:
            raise FeedNetworkError(f"no answer within {CALL_SECONDS:g} s") from error
        return self._parse(body, set(tickers), utc_now())

    def _parse(self, body: Any, wanted: set[str], received_at: datetime) -> dict[str, Quote]:
        raw = body.get("quotes") if isinstance(body, dict) else None
        if not isinstance(raw, dict):
            raise FeedUnreadableError("the answer holds no object 'quotes'")
        quotes = {}
        for ticker, one in raw.items():
            if ticker not in wanted:
                continue
            try:
                quotes[ticker] = quote_from(ticker, one, self._settings.provider, received_at)
            except BadQuoteError as error:
                _log.warning("quote left out", ticker=ticker, reason=str(error))
        return quotes

    def _get(self, tickers: Sequence[str]) -> Any:
        """Runs in one of our threads."""
        import requests
        import urllib3
        from alpaca.common.exceptions import APIError

        try:
            return self._client().get(
                _LATEST_QUOTES, {"symbols": ",".join(tickers), "feed": self._settings.feed}
            )
        except APIError as error:
            raise _refused(error) from error
        # Before ValueError, which some of these are too.
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise FeedNetworkError(f"{type(error).__name__}: {error}") from error
        except ValueError as error:
            raise FeedUnreadableError(f"the answer is not JSON: {error}") from error

    def _client(self) -> Any:
        """This thread's client: its session is not safe to share."""
        keys = self._keys()
        made_with, client = getattr(self._local, "client", (None, None))
        if client is None or made_with != keys:
            if client is not None:
                client._session.close()
            from alpaca.data.historical.stock import StockHistoricalDataClient

            from market.http import bounded_session

            one = self._settings
            client = StockHistoricalDataClient(
                api_key=keys[0].get_secret_value(),
                secret_key=keys[1].get_secret_value(),
                raw_data=True,
                url_override=one.url,
            )
            # The SDK repeats 429 and 504 three times by itself, sleeping; no argument turns that off.
            client._retry = 0
            bounded_session(client._session)
            self._local.client = (keys, client)
        return client


def _refused(error: Any) -> MarketDataError:
    """By status only: the SDK's ``code`` and ``message`` raise on a body that is not what they expect."""
    response = error.response
    if response is None:
        return FeedNetworkError("no answer")
    return http_error(response.status_code, response.text, response.headers.get("Retry-After"))
