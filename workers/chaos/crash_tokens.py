"""Scenarios of strategies' tokens: made and revoked by a person, used at the gateway."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import ClassVar, Final

import httpx2

from schemas.tokens import TokenOrder
from security.tokens import make_secret, shown_part
from storage.tokens import list_tokens, make_token
from workers.chaos.crash_books import EXIT_REFUSED, PROGRAM, TRIES_MAX
from workers.chaos.crash_people import Person
from workers.chaos.crash_play import WrongEnd
from workers.chaos.doors import TRY_AGAIN, new_signal

COMPONENT: Final = "crash sweep"
ELSEWHERE: Final = "NOWHERE"
"""A ticker that these tokens may not name."""
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403


class TokenScenario(Person):
    """A token of this run's own."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.secret = make_secret()

    @property
    def name(self) -> str:
        return f"token-{self.tag}".lower()

    async def make(self) -> None:
        order = TokenOrder(
            name=self.name, strategies=(self.strategy,), tickers=("AAPL",), rate_per_minute=6000
        )
        async with self.play.pool.acquire() as connection, connection.transaction():
            await make_token(
                connection, order, secret=self.secret, prefix=shown_part(self.secret), by=COMPONENT,
                component=COMPONENT, now=datetime.now(UTC),
            )  # fmt: skip

    async def send(self) -> int:
        """Propose what the token may not; the status of the answer. Raises httpx2.TransportError: there is none."""
        signal = new_signal(self.new_id(), strategy=self.strategy, ticker=ELSEWHERE)
        answer = await self.play.stage.gateway.http.post(
            "/v1/signals", json=signal, headers={"Authorization": f"Bearer {self.secret}"}
        )
        self.made.clear()
        return answer.status_code

    async def until_answered(self, status: int) -> None:
        """Again while nobody answers. Raises WrongEnd: the answer is another."""
        while True:
            with suppress(httpx2.TransportError):
                found = await self.send()
                if found == status:
                    return
                if found not in TRY_AGAIN:
                    raise WrongEnd(f"{self.name}: the gateway answers {found}, not {status}")


class TokenMade(TokenScenario):
    """It is there or it is not; made again, it is there once."""

    covers: ClassVar[tuple[str, ...]] = ("commit console.token_made",)

    async def provoke(self) -> None:
        await self._make()

    async def finish(self) -> None:
        for _ in range(TRIES_MAX):
            if await self._make() in (0, EXIT_REFUSED):
                break
        async with self.play.pool.acquire() as connection:
            found = await list_tokens(connection, name=self.name)
        if [each.strategies for each in found] != [(self.strategy,)]:
            raise WrongEnd(f"{self.name} was made and is not there")

    async def _make(self) -> int:
        options = ("token", "make", self.name, "--strategy", self.strategy)
        return await self.play.run(PROGRAM, *options, **self.play.console())


class TokenRevoked(TokenScenario):
    """Whether the command died before or after: given again, the token opens nothing."""

    covers: ClassVar[tuple[str, ...]] = ("commit console.token_revoked",)

    async def prepare(self) -> None:
        await self.make()

    async def provoke(self) -> None:
        await self.give("token", "revoke", self.name)

    async def finish(self) -> None:
        await self.give_until("token", "revoke", self.name, ends=(0, EXIT_REFUSED))
        await self.until_answered(UNAUTHORIZED)


class LiveRevoked(Person):
    """A grant of live trading is taken back, or was. That it is nobody's here, and this is paper, is no matter."""

    covers: ClassVar[tuple[str, ...]] = ("commit console.live_revoked",)

    async def provoke(self) -> None:
        await self.give("live", "revoke")

    async def finish(self) -> None:
        """None is in force: whoever takes it back is told so."""
        await self.give_until("live", "revoke", ends=(EXIT_REFUSED,))


class TokenUsed(TokenScenario):
    """A request beyond the token's scope is refused, whoever dies over it."""

    covers: ClassVar[tuple[str, ...]] = ("commit gateway.token_refused", "commit gateway.token_used")

    async def prepare(self) -> None:
        await self.make()

    async def provoke(self) -> None:
        with suppress(httpx2.TransportError):
            await self.send()

    async def finish(self) -> None:
        await self.until_answered(FORBIDDEN)
