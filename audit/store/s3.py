"""A store in an S3 bucket, or in any service that speaks S3: conditional writes, object lock where asked for."""

import asyncio
import base64
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from pydantic import SecretStr

from audit.store.port import ObjectDiffers, StoreRefused, StoreUnavailable, check_name, check_prefix

CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 30
TRIES_MAX: Final = 3
"""Of one request, inside boto3; whoever calls tries again later."""
AGAIN_STATUS: Final = 500
"""From here on, and 409 and 429, the service says that it may do it later."""
TAKEN: Final = ("PreconditionFailed", "412")
AGAIN: Final = ("ConditionalRequestConflict", "SlowDown", "RequestTimeout", "409", "429")

_T = TypeVar("_T")


@dataclass(frozen=True)
class S3Settings:
    """Where the bucket is, and who asks."""

    bucket: str
    region: str
    access_key: SecretStr
    secret_key: SecretStr
    locked_for: timedelta | None = None
    """Under object lock for that long, where a put says nothing else."""
    prefix: str = ""
    """Before every name: ``trading/`` for example."""
    endpoint_url: str | None = None
    """Of another service than Amazon's."""


class S3Store:
    """boto3 in threads. ``get`` gives the first version ever stored, so a later one, or a mark that it is deleted,
    hides nothing from us that object lock keeps.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._made: Any = None
        self._making = threading.Lock()

    @property
    def place(self) -> str:
        """``s3://bucket/prefix``, and the service where it is not Amazon's."""
        at = f" at {self._settings.endpoint_url}" if self._settings.endpoint_url else ""
        return f"s3://{self._settings.bucket}/{self._settings.prefix}{at}"

    async def put(self, name: str, content: bytes, *, keep_until: datetime | None = None) -> None:
        """As the port. With ``keep_until`` under object lock in mode COMPLIANCE: its owner cannot delete it before.

        Raises:
            ObjectDiffers, StoreUnavailable
            StoreRefused: also where the bucket was made without object lock and ``keep_until`` is asked for.
        """
        check_name(name)
        await self._ask(lambda client: self._put(client, name, content, keep_until))

    async def get(self, name: str) -> bytes | None:
        """As the port. Raises StoreUnavailable, StoreRefused."""
        check_name(name)
        return await self._ask(lambda client: self._get(client, name))

    async def names(self, prefix: str = "", *, after: str = "") -> list[str]:
        """As the port; what only a mark says is deleted is among them. Raises StoreUnavailable, StoreRefused."""
        check_prefix(prefix)
        found = await self._ask(lambda client: {name for name, _ in self._versions(client, prefix, after)})
        return sorted(found)

    def _put(self, client: Any, name: str, content: bytes, keep_until: datetime | None) -> None:
        from botocore.exceptions import ClientError

        lock: dict[str, Any] = {}
        if keep_until is None and self._settings.locked_for is not None:
            keep_until = datetime.now(UTC) + self._settings.locked_for
        if keep_until is not None:
            lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": keep_until}
        try:
            client.put_object(
                Bucket=self._settings.bucket,
                Key=self._settings.prefix + name,
                Body=content,
                IfNoneMatch="*",
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=base64.b64encode(hashlib.sha256(content).digest()).decode(),
                **lock,
            )
        except ClientError as error:
            if _code(error) not in TAKEN:
                raise
            if self._get(client, name) != content:
                raise ObjectDiffers(name) from error

    def _get(self, client: Any, name: str) -> bytes | None:
        # The newest comes first.
        versions = [version for found, version in self._versions(client, name) if found == name]
        if not versions:
            return None
        answer = client.get_object(
            Bucket=self._settings.bucket, Key=self._settings.prefix + name, VersionId=versions[-1]
        )
        with answer["Body"] as body:
            content: bytes = body.read()
        return content

    def _versions(self, client: Any, prefix: str, after: str = "") -> list[tuple[str, str]]:
        """(name, version) of every content under the prefix, behind a name; of one name the newest first."""
        # Behind the beginning of every name is everything.
        begin = {} if prefix.startswith(after) else {"KeyMarker": self._settings.prefix + after}
        pages = client.get_paginator("list_object_versions").paginate(
            Bucket=self._settings.bucket, Prefix=self._settings.prefix + prefix, **begin
        )
        cut = len(self._settings.prefix)
        return [(each["Key"][cut:], each["VersionId"]) for page in pages for each in page.get("Versions", ())]

    async def _ask(self, work: Callable[[Any], _T]) -> _T:
        return await asyncio.to_thread(self._asked, work)

    def _asked(self, work: Callable[[Any], _T]) -> _T:
        client = self._client()
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
        from botocore.exceptions import ConnectionError as NotConnected

        try:
            return work(client)
        except ClientError as error:
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            text = f"{self.place}: {_code(error)}: {error.response.get('Error', {}).get('Message', '')}"
            if status >= AGAIN_STATUS or _code(error) in AGAIN:
                raise StoreUnavailable(text) from error
            raise StoreRefused(text) from error
        except (HTTPClientError, NotConnected, OSError) as error:
            raise StoreUnavailable(f"{self.place}: {error}") from error
        except BotoCoreError as error:
            raise StoreRefused(f"{self.place}: {error}") from error

    def _client(self) -> Any:
        """One for all threads; making one is not for two at once. boto3 costs a third of a second: only here."""
        with self._making:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise StoreRefused("a bucket needs: pip install 'trading-interface[aws]'") from error
        settings = self._settings
        return boto3.session.Session().client(
            "s3",
            region_name=settings.region,
            endpoint_url=settings.endpoint_url,
            aws_access_key_id=settings.access_key.get_secret_value(),
            aws_secret_access_key=settings.secret_key.get_secret_value(),
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                ignore_configured_endpoint_urls=True,
                retries={"total_max_attempts": TRIES_MAX, "mode": "standard"},
                # Other services rarely have a name for each bucket, nor the newest checksums.
                s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
