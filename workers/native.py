"""The services of docker-compose.temporal.yml as plain processes of this machine.

Command, environment, secrets and order are the file's. What a container network gives is put in its place:
names and ports become free ports of 127.0.0.1, mounted secrets and volumes become folders.
"""

import asyncio
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from workers.children import ChildSpec, Probe, StartFailedError, patient
from workers.compose import SECRETS_MOUNT, Compose, Service
from workers.datadir import DataDir
from workers.embedded import write_private
from workers.healthy import problem
from workers.supervisor import Supervisor

READY_TIMEOUT_SECONDS: Final = 60.0
ONCE_SECONDS_MAX: Final = 60.0
PROBE_SECONDS: Final = 1.5
AUDIT_MOUNT: Final = "/var/lib/trading-audit"
DONE: Final = "service_completed_successfully"
_LISTENS: Final = re.compile(r"(?P<before>--port=)(?P<port>\d+)")


class Native:
    """Starts our services on one machine; the servers they need are given."""

    def __init__(
        self,
        compose: Compose,
        data_dir: DataDir,
        secrets: Mapping[str, str],
        given: Mapping[tuple[str, int], int],
        *,
        extra: Mapping[str, Sequence[str]],
        seen: Mapping[str, str] | None = None,
    ) -> None:
        """``given``: where (service, port) of other images is; ``extra``: options added to a command.

        ``seen``: variables of a service that have this value as it is: an address in it is none of the file's.
        """
        self._compose = compose
        self._data_dir = data_dir
        self._secrets = secrets
        self._ports = dict(given)
        self._extra = extra
        self._seen = dict(seen or {})

    def port(self, service: str, port: int) -> int:
        """Where that port of a service is on 127.0.0.1."""
        place = (service, port)
        if place not in self._ports:
            self._ports[place] = self._data_dir.port(f"{service}:{port}")
        return self._ports[place]

    async def start(self, supervisor: Supervisor, given: Mapping[str, "asyncio.Task[object]"]) -> None:
        """Start every service of ours, each as soon as what it needs is there; ``given`` are other images'.

        Raises:
            StartFailedError: one did not come up; the others' starts are cancelled.
        """
        tasks: dict[str, asyncio.Task[object]] = dict(given)
        ours = [
            asyncio.create_task(self._bring_up(supervisor, name, tasks), name=name)
            for name in self._compose.services
        ]
        tasks.update({task.get_name(): task for task in ours})
        try:
            await asyncio.gather(*ours)
        finally:
            for task in ours:
                task.cancel()
            await asyncio.gather(*ours, return_exceptions=True)

    async def _bring_up(
        self, supervisor: Supervisor, name: str, tasks: Mapping[str, "asyncio.Task[object]"]
    ) -> None:
        service = self._compose.services[name]
        await asyncio.gather(*(asyncio.shield(tasks[need]) for need in service.needs if need in tasks))
        spec = self.spec(service)
        if service.health is not None:
            await supervisor.start(spec)
            return
        code = await supervisor.run(spec, seconds_max=patient(ONCE_SECONDS_MAX))
        if code != 0:
            raise StartFailedError(spec, f"it ended with exit code {code}", exit_code=code)

    def spec(self, service: Service) -> ChildSpec:
        """The service as a child process."""
        folder = self._give_secrets(service)
        here = {SECRETS_MOUNT: folder} | {mount: self._volume(mount) for mount in service.volumes}
        command = [self._placed(service, each, here) for each in service.command]
        health = None if service.health is None else self._placed(service, service.health, here)
        return ChildSpec(
            name=service.name,
            argv=(*_program(command[0]), *command[1:], *self._extra.get(service.name, ())),
            log_path=self._data_dir.log(service.name),
            env={
                name: self._placed(service, value, here, listens=name.endswith("_PORT"))
                for name, value in service.environment.items()
            }
            | {name: value for name, value in self._seen.items() if name in service.environment}
            | {"TRADING_LOG_FILE": str(self._data_dir.log(service.name))},
            grace_seconds=service.grace_seconds,
            ready=None if health is None else _probe(health),
            ready_timeout_seconds=READY_TIMEOUT_SECONDS,
            advice="the log says why",
        )

    def _volume(self, mount: str) -> Path:
        return self._data_dir.audit if mount == AUDIT_MOUNT else self._data_dir.exchange_ledger.parent

    def _placed(self, service: Service, text: str, here: Mapping[str, Path], *, listens: bool = False) -> str:
        for mount, folder in here.items():
            text = text.replace(mount, str(folder))
        text = text.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        text = text.replace("127.0.0.1:", f"{service.name}:")
        names = "|".join(map(re.escape, (*self._compose.services, *self._compose.others)))
        text = re.sub(rf"\b({names}):(\d+)\b", lambda m: f"127.0.0.1:{self.port(m[1], int(m[2]))}", text)
        if listens:
            return str(self.port(service.name, int(text)))
        return _LISTENS.sub(lambda m: f"{m['before']}{self.port(service.name, int(m['port']))}", text)

    def _give_secrets(self, service: Service) -> Path:
        """A folder with this service's secrets and nothing else."""
        folder = self._data_dir.service_secrets(service.name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        for target, source in service.secrets.items():
            write_private(folder / target, self._secrets[source])
        return folder


def _program(name: str) -> tuple[str, ...]:
    """A program of this installation: the one beside our interpreter, as on the image's PATH."""
    return (str(Path(sys.executable).with_name(name)),)


def _probe(url: str) -> Probe:
    async def ready() -> str | None:
        return await asyncio.to_thread(problem, url, patient(PROBE_SECONDS))

    return ready
