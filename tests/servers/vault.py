"""One real OpenBao server for each pytest process: in memory, on loopback, an engine for each test."""

import asyncio
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import hvac
import pytest
import requests

from tests.servers.processes import REPOSITORY
from tests.servers.session import Servers, unavailable
from workers.datadir import free_port
from workers.supervisor import ChildSpec

PROGRAM = REPOSITORY / ".venv-servers" / "bin" / "bao"
NAME = "vault"
HTTP_SECONDS = 5.0
READY_SECONDS = 60.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Vault:
    """Where it is, and its root token: tests are its operator."""

    url: str
    root: str = field(repr=False)

    def client(self) -> Any:
        """A client with every right."""
        return hvac.Client(url=self.url, token=self.root, timeout=HTTP_SECONDS)


@dataclass(frozen=True)
class Engine:
    """A key-value engine of one test, and roles that may read in it."""

    vault: Vault
    mount: str

    def put(self, path: str, **fields: str) -> None:
        """Store the next version."""
        kv = self.vault.client().secrets.kv.v2
        kv.create_or_update_secret(path=path, secret=fields, mount_point=self.mount)

    def policy(self, *paths: str) -> str:
        """A policy that reads those paths and nothing else."""
        name = f"read-{uuid.uuid4().hex}"
        rules = "".join(f'path "{self.mount}/data/{path}" {{ capabilities = ["read"] }}\n' for path in paths)
        self.vault.client().sys.create_or_update_policy(name=name, policy=rules)
        return name

    def role(self, *paths: str, **options: Any) -> tuple[str, str]:
        """Role id and secret id of an AppRole that may read those paths; options are the role's."""
        client, name = self.vault.client(), f"role-{uuid.uuid4().hex}"
        client.auth.approle.create_or_update_approle(
            name, token_policies=[self.policy(*paths)], **{"token_ttl": "1h", **options}
        )
        role_id = client.auth.approle.read_role_id(name)["data"]["role_id"]
        return role_id, client.auth.approle.generate_secret_id(name)["data"]["secret_id"]

    def token(self, *paths: str, **options: Any) -> str:
        """A token that may read those paths."""
        made = self.vault.client().auth.token.create(policies=[self.policy(*paths)], **options)
        token: str = made["auth"]["client_token"]
        return token


@pytest.fixture(scope="session")
async def vault(servers: Servers) -> Vault:
    """Give the session's server."""
    if not PROGRAM.exists():
        unavailable("no server plays Vault: make install-servers")
    port, root = free_port(), secrets.token_hex(16)
    url = f"http://127.0.0.1:{port}"

    async def ready() -> str | None:
        return await asyncio.to_thread(_not_ready, url)

    spec = ChildSpec(
        name=NAME,
        argv=(str(PROGRAM), "server", "-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{port}"),
        log_path=servers.data_dir.log(NAME),
        env={"BAO_DEV_ROOT_TOKEN_ID": root},
        ready=ready,
        advice="make install-servers",
    )
    await servers.supervisor.start(spec)
    made = Vault(url, root)
    made.client().sys.enable_auth_method("approle")
    return made


@pytest.fixture
def engine(vault: Vault) -> Engine:
    """Give an engine with nothing in it. The server makes a new one ready in the background."""
    mount, client = f"kv-{uuid.uuid4().hex}", vault.client()
    client.sys.enable_secrets_engine("kv", path=mount, options={"version": "2"})
    ends = time.monotonic() + READY_SECONDS
    while not _usable(client, mount):
        assert time.monotonic() < ends, f"{mount} is not ready after {READY_SECONDS} s"
        time.sleep(POLL_SECONDS)
    return Engine(vault, mount)


def _usable(client: Any, mount: str) -> bool:
    try:
        client.secrets.kv.v2.list_secrets(path="", mount_point=mount)
    except hvac.exceptions.InvalidPath:
        return True
    except hvac.exceptions.InvalidRequest as error:
        if "Upgrading" not in str(error):
            raise
        return False
    return True


def _not_ready(url: str) -> str | None:
    try:
        status = requests.get(f"{url}/v1/sys/health", timeout=HTTP_SECONDS).status_code
    except requests.RequestException as error:
        return f"{type(error).__name__}: {error}"
    return None if status == 200 else f"/v1/sys/health answers {status}"
