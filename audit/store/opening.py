"""The store of a setting: ``/absolute/folder`` or ``s3://BUCKET/PREFIX``."""

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from audit.store.directory import DirectoryStore
from audit.store.port import ObjectStore
from audit.store.s3 import S3Settings, S3Store

LOCKED_FOR: Final = timedelta(days=7 * 365 + 2)
"""Seven years: what is written into a bucket cannot be deleted sooner, by nobody."""
BUCKET: Final = re.compile(
    r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[A-Za-z0-9._/-]*))?"
)


@dataclass(frozen=True)
class S3Access:
    """How a bucket is reached, where the place is one."""

    region: str
    endpoint_url: str | None = None
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None


def is_bucket(place: str) -> bool:
    """Whether it is a bucket and no folder.

    Raises:
        ValueError: it is neither.
    """
    if place.startswith("/"):
        return False
    if BUCKET.fullmatch(place):
        return True
    raise ValueError("the absolute path of a folder, or s3://BUCKET/PREFIX")


def open_store(place: str, access: S3Access) -> ObjectStore:
    """The store there.

    Raises:
        ValueError: it is no place, or a bucket without keys.
    """
    if not is_bucket(place):
        return DirectoryStore(Path(place))
    if access.access_key is None or access.secret_key is None:
        raise ValueError("a bucket needs an access key and a secret key")
    found = BUCKET.fullmatch(place)
    assert found is not None, "is_bucket has said so"
    prefix = (found["prefix"] or "").strip("/")
    return S3Store(
        S3Settings(
            bucket=found["bucket"],
            region=access.region,
            access_key=access.access_key,
            secret_key=access.secret_key,
            locked_for=LOCKED_FOR,
            prefix=f"{prefix}/" if prefix else "",
            endpoint_url=access.endpoint_url,
        )
    )
