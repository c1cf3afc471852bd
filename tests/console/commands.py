"""Running the program ``trading`` as a person or a script does."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.stack import Stack

PROGRAM = Path(sys.executable).with_name("trading")
RUN_SECONDS = 90
NOWHERE = "/nonexistent/trading-tests"


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


@dataclass(frozen=True)
class Trading:
    """The program, pointed at one installation."""

    variables: dict[str, str]

    async def __call__(self, *arguments: str, stdin: bytes = b"", **variables: str) -> Done:
        """Run it to its end."""
        process = await asyncio.create_subprocess_exec(
            str(PROGRAM), *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env=self.variables | variables,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(stdin), RUN_SECONDS)
        assert process.returncode is not None
        assert b"Traceback" not in out + err, (out + err).decode()
        return Done(process.returncode, out.decode(), err.decode())


def environment(**variables: str) -> dict[str, str]:
    """Nothing of this machine's own installation."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": NOWHERE, "TRADING_DATA_DIR": NOWHERE, **variables}


def of_stack(stack: Stack) -> Trading:
    """The program on a test's own product."""
    return Trading(
        environment(
            TRADING_DATABASE_URL=stack.dsn,
            TRADING_TEMPORAL_ADDRESS=stack.temporal.address,
            TRADING_GATEWAY_URL=f"http://127.0.0.1:{stack.settings.gateway_port}",
            TRADING_TOKEN=stack.token,
        )
    )
