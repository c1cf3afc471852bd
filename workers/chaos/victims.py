"""The processes of a stage: killed, stopped, started again, and waited for."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from workers import embedded, postgres
from workers.children import ChildEvent, ChildSpec, ChildState
from workers.supervisor import Supervisor

READY_WITHIN_SECONDS: Final = 90.0
DEAD_POLL_SECONDS: Final = 0.005
RESTART_BACKOFF_MAX_SECONDS: Final = 0.4
"""Being killed is no crash loop."""
LAST_TOLD: Final = 6
GATEWAY: Final = "gateway"
CONSOLE: Final = "console"
WORKERS: Final = ("orders", "risk", "execution", "operations")
DATABASE: Final = "database"
TEMPORAL: Final = "temporal"
EXCHANGE: Final = "exchange"


class StageError(Exception):
    """Something on the stage did not become what was waited for; the message names it."""


class GivenUp(StageError):
    """It did not after the stage had stood: what was broken has not recovered, and that is found wrong."""


@dataclass(slots=True)
class _Life:
    """One child: how often it was ready and died, and which of its lives is awaited."""

    ready: int = 0
    deaths: int = 0
    wanted: int = 1
    stopped: bool = False

    @property
    def up(self) -> bool:
        return self.ready >= self.wanted


@dataclass(frozen=True, kw_only=True)
class Told:
    """One event of the supervisor and when it came, by the monotonic clock."""

    at: float
    event: ChildEvent


class Directed(Supervisor):
    """Starts each child as the stage was told, and remembers how."""

    def __init__(
        self, change: Callable[[ChildSpec], ChildSpec], on_event: Callable[[ChildEvent], None]
    ) -> None:
        super().__init__(on_event=on_event, backoff_max_seconds=RESTART_BACKOFF_MAX_SECONDS)
        self._change = change
        self.specs: dict[str, ChildSpec] = {}

    async def start(self, spec: ChildSpec) -> int:
        changed = spec if spec.name in self.specs else self._change(spec)
        self.specs[spec.name] = changed
        return await super().start(changed)


class Victims:
    """What runs on a stage.

    Names are the processes' own (``gateway``, ``orders``, ``risk``, ``execution``, ``operations``) and
    ``database``, ``temporal``, ``exchange``; in the compact topology every process of ours is ``compact``.
    """

    def __init__(self, change: Callable[[ChildSpec], ChildSpec], *, compact: bool, exchange: str) -> None:
        """``change``: how each child is to be started, given how the installation starts it."""
        self.supervisor: Final = Directed(change, self._hear)
        self.told: Final[list[Told]] = []
        self._compact = compact
        self._exchange = exchange
        self._lives: dict[str, _Life] = {}
        self._changed = asyncio.Event()

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of what runs now, by the supervisor's names."""
        return self.supervisor.pids

    def name(self, name: str) -> str:
        """The supervisor's name for a child."""
        if name in (*WORKERS, GATEWAY) and self._compact:
            return embedded.PRODUCT
        return {DATABASE: postgres.NAME, EXCHANGE: self._exchange}.get(name, name)

    def deaths(self, name: str) -> int:
        """How often it has died without having been stopped."""
        return self._life(name).deaths

    def is_up(self, name: str) -> bool:
        """Whether the supervisor has told that it is ready since it last died."""
        return self._life(name).up

    async def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Kill a process that is ready; returns when it is dead. The supervisor starts it again.

        Raises:
            StageError: it is not ready.
        """
        life = self._life(name)
        pid = self.supervisor.pids.get(self.name(name))
        if pid is None or not life.up:
            raise StageError(f"{name} is not ready, so it cannot be killed")
        life.wanted = life.ready + 1
        os.kill(pid, number)
        await gone(pid)

    def stop(self, name: str) -> None:
        """SIGSTOP: it hangs until `cont`."""
        os.kill(self.supervisor.pids[self.name(name)], signal.SIGSTOP)
        self._life(name).stopped = True

    def cont(self, name: str) -> None:
        """SIGCONT."""
        self._life(name).stopped = False
        with suppress(KeyError, ProcessLookupError):
            os.kill(self.supervisor.pids[self.name(name)], signal.SIGCONT)

    async def until_ready(self, name: str, *, seconds_max: float = READY_WITHIN_SECONDS) -> None:
        """Wait until the supervisor has told that it is ready, after its death if it has died."""
        await self.until(lambda: self.is_up(name), seconds_max=seconds_max, what=f"{name} is ready")

    async def until_dead(
        self, name: str, times: int = 1, *, seconds_max: float = READY_WITHIN_SECONDS
    ) -> None:
        """Wait until it has died ``times`` times, of a crash point for example."""
        await self.until(lambda: self.deaths(name) >= times, seconds_max=seconds_max, what=f"{name} died")

    async def until(self, condition: Callable[[], bool], *, seconds_max: float, what: str) -> None:
        """Wait until a condition on what the supervisor tells is true.

        Raises:
            StageError: it was not within ``seconds_max``.
        """
        try:
            async with asyncio.timeout(seconds_max):
                while True:
                    changed = self._changed
                    if condition():
                        return
                    await changed.wait()
        except TimeoutError:
            last = [f"{each.event.name} {each.event.state.value}" for each in self.told[-6:]]
            raise StageError(f"not within {seconds_max:g} s: {what}; last told: {last}") from None

    async def down(self, name: str, *, kill: bool = False) -> None:
        """Stop a process (with ``kill``: SIGKILL) that then stays down until `up`."""
        await self.until_ready(name)
        self._life(name).wanted += 1
        await (self.supervisor.kill if kill else self.supervisor.stop)(self.name(name))

    async def up(
        self, name: str, *, env: Mapping[str, str] | None = None, argv: Sequence[str] | None = None
    ) -> None:
        """Start again what is down and wait until it is ready; with more variables or another command if given."""
        spec = self.supervisor.specs[self.name(name)]
        changed = replace(spec, env={**spec.env, **(env or {})}, argv=tuple(argv or spec.argv))
        self.supervisor.specs[changed.name] = changed
        await self.supervisor.start(changed)

    async def restart(self, name: str, **changes: Any) -> None:
        """`down` and `up`."""
        await self.down(name)
        await self.up(name, **changes)

    def _hear(self, event: ChildEvent) -> None:
        """Note what the supervisor tells."""
        life = self._lives.setdefault(event.name, _Life())
        if event.state is ChildState.READY:
            life.ready += 1
        elif event.state is ChildState.DIED:
            life.deaths += 1
            life.wanted = life.ready + 1
        self.told.append(Told(at=asyncio.get_running_loop().time(), event=event))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _life(self, name: str) -> _Life:
        return self._lives.setdefault(self.name(name), _Life())


async def gone(pid: int) -> None:
    """Return once there is no such process; its leash collects it at once."""
    with suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            await asyncio.sleep(DEAD_POLL_SECONDS)
