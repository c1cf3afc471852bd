"""Speaking to the gateway as a strategy does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from console.addresses import Addresses
from console.errors import DependencyDown, Refused
from console.signal_files import SignalText

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 15.0
CONNECTIONS_MAX: Final = 32
TRIES_MAX: Final = 4
NO_ANSWER: Final = 0
"""Stands for the status of an answer that never came."""
CONFLICT: Final = 409
PAUSE_SECONDS: Final = 0.25
"""Before the second try; doubled each time. The same id again is the same signal, so trying again is safe."""


class _AnswerLost(DependencyDown):
    """The request may have arrived."""


@dataclass(frozen=True)
class Answer:
    """What the gateway said to one signal."""

    signal_id: str
    status: int
    body: dict[str, Any]
    repeated: bool

    @property
    def accepted(self) -> bool:
        """The signal is durable there."""
        return self.status == 202

    @property
    def error(self) -> dict[str, Any]:
        """``code``, ``message`` and ``fields`` of a refusal."""
        found = self.body.get("error")
        return found if isinstance(found, dict) else {"code": str(self.status), "message": "no reason given"}

    @property
    def lost(self) -> bool:
        """Nobody knows whether the gateway took it."""
        return self.status == NO_ANSWER

    def problem(self) -> str:
        """The refusal in one line."""
        if self.status == CONFLICT:
            return str(self.error.get("message"))
        fields = "; ".join(f"{each['field']}: {each['message']}" for each in self.error.get("fields", []))
        return fields or str(self.error.get("message"))


class Gateway:
    """One installation's gateway, with a token."""

    def __init__(self, http: "httpx2.AsyncClient", url: str) -> None:
        self._http = http
        self._url = url
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)

    async def submit(self, signal: SignalText) -> Answer:
        """Send one signal; repeat it where the gateway is away or says so.

        A signal sent again by its id, whose ``created_at`` was made here, is the same signal: it is compared
        with what is stored under the stored time. An answer that is ``lost`` may belong to a signal taken.

        Raises:
            DependencyDown: nothing was sent: the gateway cannot be reached.
            Refused: the token is not valid.
        """
        try:
            answer = await self._submit(signal)
            if answer.status == CONFLICT and signal.stamp is not None:
                async with self._slots:
                    stored = await self._send("GET", f"/v1/signals/{signal.signal_id}")
                if stored.status_code == 200:
                    answer = await self._submit(signal.stamped_again(str(_json(stored)["created_at"])))
        except _AnswerLost as error:
            told = {"error": {"code": "NO_ANSWER", "message": f"no answer: {error.what}; it may be taken"}}
            return Answer(signal.signal_id, NO_ANSWER, told, repeated=False)
        return answer

    async def _submit(self, signal: SignalText) -> Answer:
        async with self._slots:
            response = await self._send(
                "POST",
                "/v1/signals",
                content=signal.text.encode("utf-8", "surrogatepass"),
                headers={"Content-Type": "application/json"},
            )
        if response.status_code == 401:
            raise Refused("the gateway does not know this token", do="set TRADING_TOKEN to a valid one")
        return Answer(
            signal_id=signal.signal_id,
            status=response.status_code,
            body=_json(response),
            repeated=response.headers.get("Idempotent-Replayed") == "true",
        )

    async def signal(self, signal_id: str) -> dict[str, Any]:
        """What became of a signal: the body of ``GET /v1/signals/{id}``."""
        async with self._slots:
            response = await self._send("GET", f"/v1/signals/{signal_id}")
        if response.status_code != 200:
            raise Refused(f"the gateway answers {response.status_code} for {signal_id}")
        return _json(response)

    async def _send(self, method: str, path: str, **content: Any) -> "httpx2.Response":
        import httpx2

        cause, sent = "", False
        for attempt in range(TRIES_MAX):
            if attempt:
                await asyncio.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            try:
                response = await self._http.request(method, path, **content)
            except httpx2.TransportError as error:
                cause = str(error) or type(error).__name__
                sent = sent or not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
                continue
            if response.status_code < 500:
                return response
            cause, sent = f"it answers {response.status_code}", True
        failure = _AnswerLost if sent else DependencyDown
        raise failure(f"the gateway at {self._url} is away: {cause}", do="is `trading up` running?")


@asynccontextmanager
async def gateway(addresses: Addresses) -> AsyncIterator[Gateway]:
    """A gateway with the installation's token.

    Raises:
        DependencyDown: address or token are not known.
    """
    async with open_gateway(addresses.need("gateway_url"), addresses.need("token")) as door:
        yield door


@asynccontextmanager
async def open_gateway(url: str, token: str) -> AsyncIterator[Gateway]:
    """A gateway at an address, with a token.

    Raises:
        DependencyDown: that is no address.
    """
    import httpx2

    limits = httpx2.Limits(max_connections=CONNECTIONS_MAX)
    timeout = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    try:
        http = httpx2.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=timeout, limits=limits,
            trust_env=False,
        )  # fmt: skip
    except (httpx2.InvalidURL, ValueError) as error:
        raise DependencyDown(f"{url} is no address: {error}", do="set TRADING_GATEWAY_URL") from error
    async with http:
        yield Gateway(http, url)


def _json(response: "httpx2.Response") -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
