"""The one-shot jobs of docker-compose.temporal.yml that are shell: tried as far as there is a server for them."""

import asyncio
import os
import uuid
from typing import Any

import pytest
import yaml

from workers import temporal
from workers.compose import FILE

RUN_SECONDS = 90
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
JOBS = ("temporal-schema", "temporal-namespace")


async def run(*command: str, **variables: str) -> tuple[int, str]:
    """Exit code and all that was said."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=variables
    )
    out, _ = await asyncio.wait_for(process.communicate(), RUN_SECONDS)
    assert process.returncode is not None
    return process.returncode, out.decode()


def script(job: str) -> str:
    """What the shell is given: Compose halves every dollar sign."""
    text: str = SERVICES[job]["command"][0]
    return text.replace("$$", "$")


@pytest.mark.parametrize("job", JOBS)
async def test_the_shell_understands_it(job: str) -> None:
    assert SERVICES[job]["entrypoint"] == ["/bin/sh", "-ec"]
    assert await run("/bin/sh", "-n", "-c", script(job)) == (0, "")


async def test_the_namespace_is_made_once_and_again(temporal_addresses: temporal.Server) -> None:
    """How: on the embedded server, under a name of its own, twice."""
    namespace = f"compose-{uuid.uuid4().hex[:8]}"
    program = temporal_addresses.program
    variables = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": "/nonexistent",
        "TEMPORAL_ADDRESS": temporal_addresses.address,
    }
    text = script("temporal-namespace").replace("--namespace trading", f"--namespace {namespace}")
    for _ in range(2):
        code, out = await run("/bin/sh", "-ec", text, **variables)
        assert code == 0, out
    code, out = await run(
        str(program), "operator", "search-attribute", "list", "--namespace", namespace, **variables
    )
    assert code == 0, out
    for name, kind in temporal.SEARCH_ATTRIBUTES.items():
        assert any(line.split()[:2] == [name, kind] for line in out.splitlines()), out
