"""What of docker-compose.temporal.yml is shell: tried as far as there is a server for it."""

import asyncio
import os
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.servers.processes import POLL_SECONDS, needs_proc
from workers import temporal, valkey
from workers.compose import FILE
from workers.datadir import free_port

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


@needs_proc
async def test_valkey_asks_for_its_password_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """How: the command as it stands, but for where the secret lies, a port that is free and a folder."""
    (tmp_path / "trading_event_redis_password").write_text("s3cret")
    program, port = valkey.find_program(), free_port()
    shell, option, text = SERVICES["valkey"]["command"]
    text = text.replace("$$", "$").replace("/run/secrets", str(tmp_path))
    text = text.replace("appendonly yes", f"appendonly yes\nbind 127.0.0.1\nport {port}\ndir {tmp_path}")
    process = await asyncio.create_subprocess_exec(
        shell, option, text, env={"PATH": f"{program.parent}:{os.environ['PATH']}"},
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(RUN_SECONDS), Redis(port=port, password="s3cret") as known:
            while not await answers(known):
                await asyncio.sleep(POLL_SECONDS)
            assert (await known.config_get("appendonly"))["appendonly"] == "yes"
            async with Redis(port=port) as stranger:
                with pytest.raises(AuthenticationError):
                    await stranger.ping()
            assert "s3cret" not in said_of(process.pid)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0, "the server is the container's first process, not a shell"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def said_of(pid: int) -> str:
    """What everybody on the machine can read of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text()


async def answers(client: Redis) -> bool:
    try:
        return bool(await client.ping())
    except (OSError, RedisConnectionError):
        return False


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
