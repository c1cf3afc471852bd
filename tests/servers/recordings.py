"""Where the recorded quotes lie that some tests play: beside the repository, or where a variable says."""

import os
from pathlib import Path

import pytest

from tests.servers.processes import REPOSITORY

FOLDER_VARIABLE = "TRADING_MARKET_DATA"
FOLDER = Path(os.environ.get(FOLDER_VARIABLE) or REPOSITORY.parent / "shared" / "market-data")


def recording(name: str) -> Path:
    """The file of that name; the test is skipped, and says why, where it is not."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"no recorded quotes: {path} is not there (${FOLDER_VARIABLE} names another folder)")
    return path
