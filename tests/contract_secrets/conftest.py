"""Each source of secrets, on its real server, with the same handles."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from security.secrets.aws import AwsSettings, AwsSource
from security.secrets.folder import FolderSource
from security.secrets.port import SecretSource
from security.secrets.vault import VaultSettings, VaultSource
from tests.servers.amazon import ACCESS_KEY, REGION, SECRET_KEY, Amazon
from tests.servers.vault import Engine

PATHS = {"t/broker": ("broker_key", "broker_secret"), "t/absent": ("nothing",)}


@dataclass(frozen=True)
class Kept:
    """A source, and the hand of whoever keeps it."""

    source: SecretSource
    put: Callable[..., None]
    """``put("t/broker", broker_key="…")``: the next version."""
    broken: Callable[[], SecretSource]
    """The same where nobody answers."""


@pytest.fixture(params=["vault", "aws", "embedded"])
def kept(request: pytest.FixtureRequest, unique: Callable[[str], str], tmp_path: Path) -> Kept:
    match request.param:
        case "vault":
            return _vault(request.getfixturevalue("engine"))
        case "aws":
            return _aws(request.getfixturevalue("amazon"), unique("app"))
        case _:
            return _folder(tmp_path)


def vault_source(engine: Engine, **options: Any) -> VaultSource:
    """By AppRole, with the right to read what the cases read."""
    role_id, secret_id = engine.role("t/broker", "t/absent", **options)
    return VaultSource(
        VaultSettings(
            engine.vault.url, engine.mount, role_id=role_id, credential=lambda: SecretStr(secret_id)
        )
    )


def _vault(engine: Engine) -> Kept:
    def broken() -> SecretSource:
        return VaultSource(VaultSettings("http://127.0.0.1:9", credential=lambda: SecretStr("x")))

    return Kept(vault_source(engine), engine.put, broken)


class _Named:
    """Secrets Manager knows one space of names: each test's begin with its own."""

    name = "aws"

    def __init__(self, source: SecretSource, prefix: str) -> None:
        self._source = source
        self._prefix = prefix

    def place(self, path: str) -> str:
        return self._source.place(path)

    def read(self, path: str) -> Any:
        return self._source.read(f"{self._prefix}/{path}")

    def close(self) -> None:
        self._source.close()


def aws_source(url: str) -> AwsSource:
    return AwsSource(AwsSettings(REGION, url, SecretStr(ACCESS_KEY), SecretStr(SECRET_KEY)))


def put_in_amazon(amazon: Amazon, name: str, **fields: Any) -> None:
    """Store the next version."""
    client = amazon.client("secretsmanager")
    text = json.dumps(fields)
    try:
        client.put_secret_value(SecretId=name, SecretString=text)
    except client.exceptions.ResourceNotFoundException:
        client.create_secret(Name=name, SecretString=text)


def _aws(amazon: Amazon, prefix: str) -> Kept:
    return Kept(
        _Named(aws_source(amazon.url), prefix),
        lambda path, **fields: put_in_amazon(amazon, f"{prefix}/{path}", **fields),
        lambda: aws_source("http://127.0.0.1:9"),
    )


def _folder(folder: Path) -> Kept:
    def put(_: str, **fields: str) -> None:
        for name, value in fields.items():
            (folder / f"trading_{name}").write_text(value)

    return Kept(
        FolderSource(folder, PATHS, prefix="trading_"),
        put,
        lambda: FolderSource(folder / "trading_broker_key", PATHS, prefix="trading_"),
    )


@pytest.fixture
def hanging() -> Iterator[str]:
    """Give the address of a server that takes a connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
