"""The server that plays Amazon: S3 with object lock, and Secrets Manager; one for each pytest process.

It is moto's, in an environment of its own (`make install-servers`), whose packages are none of ours.
"""

import asyncio
import http.client
import uuid
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from pydantic import SecretStr

from audit.store.s3 import S3Settings, S3Store
from tests.servers.processes import REPOSITORY
from tests.servers.session import Servers, unavailable
from workers.datadir import free_port
from workers.supervisor import ChildSpec

PYTHON = REPOSITORY / ".venv-servers" / "bin" / "python"
NAME = "amazon"
REGION = "eu-central-1"
ACCESS_KEY = "AKIATESTSTESTSTESTST"
SECRET_KEY = "a secret key of tests, which no log may show"
HTTP_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Amazon:
    """Where it is, and a client that is not ours, to look at it from the side."""

    url: str

    @cache  # noqa: B019 - lives as long as the session
    def client(self, service: str = "s3") -> Any:
        """A client of boto3."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )


@dataclass(frozen=True)
class Bucket:
    """A bucket of one test."""

    amazon: Amazon
    name: str

    def store(self, prefix: str = "") -> S3Store:
        """On a client that all share: making one takes a fifth of a second."""
        made = S3Store(self.settings(prefix))
        made._made = _shared_client(self.amazon)
        return made

    def settings(self, prefix: str = "") -> S3Settings:
        """As our store is told of it."""
        return S3Settings(
            bucket=self.name,
            region=REGION,
            access_key=SecretStr(ACCESS_KEY),
            secret_key=SecretStr(SECRET_KEY),
            prefix=prefix,
            endpoint_url=self.amazon.url,
        )


@cache
def _shared_client(amazon: Amazon) -> Any:
    return S3Store(Bucket(amazon, "any").settings())._client()


@pytest.fixture(scope="session")
async def amazon(servers: Servers) -> Amazon:
    """Give the session's server."""
    if not PYTHON.exists():
        unavailable("no server plays Amazon: make install-servers")
    port = free_port()

    async def ready() -> str | None:
        return await asyncio.to_thread(_not_ready, port)

    spec = ChildSpec(
        name=NAME,
        argv=(str(PYTHON), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)),
        log_path=servers.data_dir.log(NAME),
        env={
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        ready=ready,
        advice="make install-servers",
    )
    await servers.supervisor.start(spec)
    return Amazon(f"http://127.0.0.1:{port}")


@pytest.fixture
def bucket(amazon: Amazon) -> Bucket:
    """Give a fresh bucket that keeps what is locked."""
    name = f"audit-{uuid.uuid4().hex}"
    amazon.client().create_bucket(
        Bucket=name,
        ObjectLockEnabledForBucket=True,
        CreateBucketConfiguration={"LocationConstraint": REGION},
    )
    return Bucket(amazon, name)


def _not_ready(port: int) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HTTP_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/moto-api/")
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"/moto-api/ answers {status}"
