"""Orders at rest in the short form: loaded, started by the sweeper, filled in a burst, again after a restart."""

import asyncio
import json
import sys

import pytest

from tests.servers.processes import REPOSITORY, needs_proc

ORDERS = 50
BURST = 10

pytestmark = [needs_proc, pytest.mark.timeout(300)]


async def test_resting_orders_rest_and_wake() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.chaos", "--resting", str(ORDERS), "--burst", str(BURST),
        "--idle-minutes", "0.1", "--topology", "compact", "--json",
        cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert err.decode() == ""
    told = json.loads(out)
    late = [each for each in told["wrong"] if "p95" in each]
    assert told["wrong"] == late, "how fast is this machine's business here"
    assert told["workflows_at_rest"] == ORDERS
    assert told["open_at_the_end"] == ORDERS - 2 * BURST
    for name in ("fill_to_state_seconds", "after_restart_fill_to_state_seconds"):
        assert told[name]["fills"] == BURST
