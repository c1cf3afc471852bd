"""A bell in the short form: partly filled orders, a fill racing each cancel, stops for exactly what is held."""

import asyncio
import json
import sys

import pytest

from tests.servers.processes import REPOSITORY, needs_proc

RUNS = 6

pytestmark = [needs_proc, pytest.mark.timeout(300)]


async def test_after_the_bell_every_share_has_its_stop() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.chaos", "--end-of-day", str(RUNS), "--per-bell", str(RUNS),
        "--topology", "compact", "--json",
        cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert err.decode() == ""
    told = json.loads(out)
    assert told["wrong"] == [reason for reason in told["wrong"] if "no race" in reason], (
        "how fast is chance here"
    )
    for name in ("exact", "covered_after"):
        assert told[name] == RUNS
    assert told["cancelled"] + told["filled_after_all"] == RUNS
    assert (told["bells"], told["duplicates"], told["posts"]) == (1, 0, 2 * RUNS)
