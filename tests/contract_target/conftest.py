"""The stores that the numbered cases are run on."""

from pathlib import Path

import pytest

from audit.seal.targets import CheckpointTarget, DirectoryTarget


@pytest.fixture(params=["directory"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointTarget:
    """Give an empty store."""
    assert request.param == "directory"
    return DirectoryTarget(tmp_path / "made" / "by the first write")
