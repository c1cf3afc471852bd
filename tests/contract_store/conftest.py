"""The stores under test, each empty."""

from pathlib import Path

import pytest

from audit.store.directory import DirectoryStore
from audit.store.port import ObjectStore
from tests.servers.amazon import Bucket


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Give a store of each kind in turn."""
    if request.param == "directory":
        return DirectoryStore(tmp_path / "made" / "by the store")
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.store("trading/")
