"""Who is measured: ours, the floors, and the plain pipelines, each by the same few questions."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from temporalio.client import Client

from benchmarks import rival_workflows
from benchmarks.names import BONES, COMMITS_ALONE, EQUAL, FLOOR, OURS, PLAIN_STOCK
from benchmarks.servers import RIVAL_EXCHANGE, STOCK, TUNED, Rig, Site
from benchmarks.usage import cpu_seconds
from schemas import wire
from schemas.orders import OrderStatus
from workers import postgres, temporal
from workers.chaos.doors import ExchangeDoor, new_signal
from workers.chaos.victims import EXCHANGE

QUANTITIES: Final = 10
"""Ours are of so many sizes: no two alike within the window in which a second one is a mistake."""

TOKEN_COMMITS: Final = 1
"""Before the POST a token of the request budget is taken: a commit that has no audit row (docs/AUDIT.md)."""

_STATE = "select status, reason, settled_at is not null as settled from orders where signal_id = $1"
_ENDED = """
select count(*) filter (where status = 'FILLED') as filled,
    min(concat_ws(' ', signal_id, status, reason)) filter (where status <> 'FILLED') as other
from orders where signal_id like $1 and settled_at is not null"""
_IDS = "select client_order_id, signal_id from orders where client_order_id is not null"
_COMMITS = """
select count(distinct a.xmin::text::bigint) filter (where a.id <= sent.id) as before,
    count(distinct a.xmin::text::bigint) filter (where a.id > sent.id and a.id <= taken.id) as acknowledging,
    count(distinct a.xmin::text::bigint) filter (where a.id > taken.id) as settling
from audit_log a,
    (select max(id) as id from audit_log where correlation_id = $1 and decision = 'SUBMITTING') sent,
    (select max(id) as id from audit_log where correlation_id = $1 and decision = 'ACCEPTED') taken
where a.correlation_id = $1"""


@dataclass(frozen=True)
class Commits:
    """Write transactions of one order of ours: until the POST, until its answer is stored, until it is settled."""

    before: int = 0
    acknowledging: int = 0
    settling: int = 0


class Contender(ABC):
    """One way from a request to an order at the exchange."""

    name: str
    client: Client
    """Of its Temporal server."""
    exchange: ExchangeDoor
    acknowledging: str
    """The activity whose end says that the broker's answer is stored."""

    @abstractmethod
    def pids(self) -> dict[str, int]:
        """Everything that works for it, by the supervisor's names."""

    def cpu_ms(self) -> dict[str, float]:
        """Processor time so far, by process."""
        return {name: cpu_seconds(pid) * 1000 for name, pid in self.pids().items()}

    @abstractmethod
    async def send(self, order: str) -> httpx2.Response:
        """Ask for one order of that name."""

    @abstractmethod
    async def done(self, prefix: str) -> int:
        """How many whose names begin so are finished. Raises RuntimeError where one ended otherwise than well."""

    @abstractmethod
    async def is_done(self, order: str) -> bool:
        """Whether this one is. Raises RuntimeError where it ended otherwise than well."""

    @abstractmethod
    def workflow_id(self, order: str) -> str:
        """Of its workflow."""

    async def names_by_id(self) -> Mapping[str, str]:
        """Client order ids that are not the names themselves."""
        return {}


class Installed(Contender):
    """An installation that makes every check of ours: the product itself, or the plain pipeline of our steps."""

    acknowledging = wire.ACTIVITY_PLACE_ORDER

    def __init__(self, rig: Rig, name: str, site: Site) -> None:
        self.name, self._stage, self._tickers, self._numbers = name, site.stage, rig.tickers, site.numbers
        self.client, self.exchange = site.client, site.stage.exchange

    def pids(self) -> dict[str, int]:
        stage = self._stage
        names = (*stage.installation.product, temporal.NAME, postgres.NAME, stage.name(EXCHANGE))
        return {name: stage.pids[name] for name in names if name in stage.pids}

    async def send(self, order: str) -> httpx2.Response:
        rest, which = divmod(next(self._numbers), len(self._tickers))
        signal = new_signal(order, ticker=self._tickers[which], quantity=str(1 + rest % QUANTITIES))
        return await self._stage.gateway.submit(signal)

    async def done(self, prefix: str) -> int:
        async with self._stage.database() as connection:
            row = await connection.fetchrow(_ENDED, f"{prefix}%")
        assert row is not None, "counts are one row"
        if row["other"] is not None:
            raise RuntimeError(f"not every order was filled: {row['other']}")
        return int(row["filled"])

    async def is_done(self, order: str) -> bool:
        async with self._stage.database() as connection:
            row = await connection.fetchrow(_STATE, order)
        if row is not None and row["settled"] and row["status"] != OrderStatus.FILLED:
            raise RuntimeError(f"{order} ended as {row['status']}: {row['reason']}")
        return row is not None and bool(row["settled"])

    def workflow_id(self, order: str) -> str:
        return wire.order_workflow_id(order)

    async def names_by_id(self) -> Mapping[str, str]:
        async with self._stage.database() as connection:
            return {row["client_order_id"]: row["signal_id"] for row in await connection.fetch(_IDS)}

    async def commits(self, order: str) -> Commits:
        """Each leaves its own mark on an audit row, but for the token's."""
        async with self._stage.database() as connection:
            row = dict(await connection.fetchrow(_COMMITS, order) or {})
        return Commits(row["before"] + TOKEN_COMMITS, row["acknowledging"], row["settling"])


class Ours(Installed):
    """The product."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig, OURS, Site(rig.stage, rig.client, rig.numbers))


_KINDS: Final = {BONES: "bones", COMMITS_ALONE: "plain"}
"""Whose workflow is not the bare one."""


class Rival(Contender):
    """A workflow of `rival_workflows`."""

    def __init__(self, rig: Rig, name: str, *, commits: Commits) -> None:
        stock = name == COMMITS_ALONE
        door, at = (rig.stock, rig.plain[PLAIN_STOCK]) if stock else (rig.tuned, Site(rig.stage, rig.client))
        assert door is not None, "a rig with rivals"
        assert rig.rival_exchange is not None, "a rig with rivals"
        self.name, self.client, self.exchange, self._door = name, at.client, rig.rival_exchange, door
        self._kind = _KINDS.get(name, "bare")
        self._commits = Commits() if name == FLOOR else commits
        self.acknowledging = rival_workflows.ACKNOWLEDGE if stock else rival_workflows.PLACE_ALONE
        self._process, self._rig, self._server = STOCK if stock else TUNED, rig, at.stage

    def pids(self) -> dict[str, int]:
        own = {name: self._rig.stage.pids[name] for name in (self._process, postgres.NAME, RIVAL_EXCHANGE)}
        return own | {temporal.NAME: self._server.pids[temporal.NAME]}

    async def send(self, order: str) -> httpx2.Response:
        ask: dict[str, Any] = {"name": order, **self._commits.__dict__}
        return await self._door.post(f"/v1/{self._kind}", json=ask)

    async def done(self, prefix: str) -> int:
        answer = await self._door.get("/v1/done", params={"prefix": prefix})
        answer.raise_for_status()
        return int(answer.json()["done"])

    async def is_done(self, order: str) -> bool:
        return bool(await self.done(f"{order}/"))

    def workflow_id(self, order: str) -> str:
        return f"{self._kind}-{order}"


def contenders(rig: Rig, commits: Commits) -> list[Contender]:
    """All of them, in the table's order; ``commits``: what the floor with ours and the commits alone make."""
    return [
        Ours(rig),
        *(Rival(rig, name, commits=commits) for name in (BONES, EQUAL, FLOOR)),
        *(Installed(rig, name, site) for name, site in rig.plain.items()),
        Rival(rig, COMMITS_ALONE, commits=commits),
    ]
