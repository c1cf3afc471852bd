"""Not collected by itself: `test_leash.py` runs this file with pytest and kills that process in mid-test."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def signal_ready() -> Callable[[], None]:
    return Path(os.environ["HANGING_CASE_READY_FILE"]).touch


async def test_uses_servers_and_never_ends(
    postgres_server: object, temporal_server: object, signal_ready: Callable[[], None]
) -> None:
    assert postgres_server
    assert temporal_server
    signal_ready()
    await asyncio.Event().wait()
