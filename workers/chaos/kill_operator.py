"""Whoever stops and releases trading on a stage: every way in which the kill switch is engaged, and its release."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import asyncpg
from temporalio.service import RPCError, RPCStatusCode

from schemas import wire
from schemas.kill import KillCommand, KillState, ReleaseAnswer
from security.grants import make_grant
from storage.fence import Fence, try_fence
from storage.switches import engage, read_installation, read_state
from workers import temporal
from workers.chaos.stage import Stage, StageError

if TYPE_CHECKING:
    from temporalio.client import Client

POLL_SECONDS: Final = 0.02
COMMAND_SECONDS_MAX: Final = 120.0
RETURNED_WITHIN_SECONDS: Final = 120.0
"""Above the wait for a fence that a stopped process holds."""
RELEASED_WITHIN_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 0.5
KEPT_VARIABLES: Final = ("PATH", "PYTHONPATH", "HOME", "LANG")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document it printed."""
        return json.loads(self.out)


class Operator:
    """Commands, signals and rows. Use it as a context manager: it keeps one connection to the database."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rows: asyncpg.Connection[Any] | None = None
        self._client: Client | None = None

    async def __aenter__(self) -> "Operator":
        self._rows = await asyncpg.connect(self._stage.owner_dsn, timeout=10)
        return self

    async def __aexit__(self, *ended: object) -> None:
        if self._rows is not None:
            self._rows.terminate()

    @property
    async def rows(self) -> "asyncpg.Connection[Any]":
        """Our connection, anew where the database was away."""
        if self._rows is None or self._rows.is_closed():
            self._rows = await asyncpg.connect(self._stage.owner_dsn, timeout=10)
        return self._rows

    async def client(self) -> "Client":
        """Our own client of Temporal."""
        if self._client is None:
            self._client = await self._stage.temporal_client()
        return self._client

    async def state(self) -> KillState:
        """The switch's row."""
        return await read_state(await self.rows)

    async def by_sdk(self, **fields: str) -> None:
        """A raw signal, as any client of Temporal can send it."""
        handle = (await self.client()).get_workflow_handle(wire.ID_KILL_SWITCH)
        await handle.signal(wire.SIGNAL_KILL, fields)

    async def by_temporal(self, *, text: str | None = None) -> None:
        """The real command line of Temporal, with or without ``--input``."""
        given = () if text is None else ("--input", text)
        done = await self._run(
            [
                str(temporal.find_program()), "workflow", "signal", "--workflow-id", wire.ID_KILL_SWITCH,
                "--name", wire.SIGNAL_KILL, *given, "--address", self._stage.temporal_address,
                "--namespace", wire.NAMESPACE,
            ],
            {},
        )  # fmt: skip
        if done.code != 0:
            raise StageError(f"temporal workflow signal ended with {done.code}: {done.err[-300:]}")

    async def by_row(self) -> None:
        """The row alone, as a part of ours engages it; the watchers do the rest."""
        rows = await self.rows
        async with rows.transaction():
            command = KillCommand(reason="a fault run", triggered_by="chaos")
            await engage(rows, command, request_id=str(uuid4()), now=datetime.now(UTC), component="Chaos")

    async def trading(self, *arguments: str) -> Done:
        """Our own command line, on this stage."""
        program = Path(sys.executable).with_name("trading")
        return await self._run(
            [str(program), *arguments], {"TRADING_DATA_DIR": str(self._stage.data_dir.root)}
        )

    async def _run(self, command: Sequence[str], variables: dict[str, str]) -> Done:
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            *command, env=kept | variables, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS_MAX)
        finally:
            if process.returncode is None:
                process.kill()
        return Done(process.returncode or 0, out.decode(), err.decode())

    async def until_returned(self, epoch: int) -> Fence:
        """Wait for the row of a later epoch and then for the fence: what `trading kill` waits for.

        Raises:
            StageError: it did not come to that.
        """
        fence: Fence | None = None
        try:
            async with asyncio.timeout(RETURNED_WITHIN_SECONDS):
                while not ((state := await self.state()).engaged and state.epoch > epoch):
                    await asyncio.sleep(POLL_SECONDS)
                while not (fence := await try_fence(await self.rows)).free:
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            why = "the switch is not engaged" if fence is None else f"waiting for {fence.text}"
            raise StageError(f"an activation has not returned: {why}") from None
        return fence

    async def until_swept(self, seconds: float) -> KillState:
        """Wait for the sweep's last word; the state as it is after that time, whatever it is."""
        state = await self.state()
        try:
            async with asyncio.timeout(seconds):
                while not (state.swept_at is not None and state.sweep_confirmed):
                    await asyncio.sleep(POLL_SECONDS)
                    state = await self.state()
        except TimeoutError:
            pass
        return state

    async def release(self, before: Callable[[], Awaitable[None]] | None = None) -> ReleaseAnswer:
        """By a signed grant, tried again while an outcome is still unknown.

        Args:
            before: called before each try: until the last one the switch is engaged for sure.

        Raises:
            StageError: it was refused for too long.
        """
        handle: Any = (await self.client()).get_workflow_handle(wire.ID_KILL_SWITCH)
        installation = await read_installation(await self.rows)
        answer: ReleaseAnswer | None = None
        try:
            async with asyncio.timeout(RELEASED_WITHIN_SECONDS):
                while answer is None or not answer.released:
                    if answer is not None:
                        await asyncio.sleep(RETRY_SECONDS)
                    grant = make_grant(
                        self._stage.operator_key_file, account=installation.account or "",
                        epoch=(await self.state()).epoch, reason="a fault run", now=datetime.now(UTC),
                    )  # fmt: skip
                    if before is not None:
                        await before()
                    try:
                        answer = await handle.execute_update(
                            wire.UPDATE_RELEASE, grant, id=grant.nonce, result_type=ReleaseAnswer
                        )
                    except RPCError as error:
                        if error.status is not RPCStatusCode.FAILED_PRECONDITION:
                            raise
                        # The workflow's last task has failed, on a slow machine by its time: it is tried again.
                        await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            why = "no answer" if answer is None else answer.message
            raise StageError(f"the switch was not released: {why}") from None
        return answer
