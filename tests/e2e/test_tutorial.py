"""docs/TUTORIAL.md, typed block by block into a shell beside a fresh installation."""

import asyncio
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from console.demo_stack import stack
from tests.servers.processes import REPOSITORY, needs_proc
from tests.tidy.documents import Block, shell_blocks

TUTORIAL = REPOSITORY / "docs" / "TUTORIAL.md"
BY_HAND = "make "
"""Blocks of the other terminal: the installation that this test starts, and the recorded day of another test."""
TUTORIAL_SECONDS = 300
TRIES = 60


def script(blocks: list[Block]) -> str:
    """One shell for all, as for who reads: each block must end well, or as it is marked."""
    lines = ["set -eu -o pipefail"]
    for number, block in enumerate(blocks, 1):
        text = block.text.replace("--seconds 60", "--seconds 15").rstrip()
        if block.marks == ("exit=1",):
            lines += [
                "code=0",
                f"{text} || code=$?",
                f'[ "$code" = 1 ] || {{ echo "block {number}: $code"; exit 9; }}',
            ]
        elif block.marks == ("retry",):
            lines += [f"for try in $(seq {TRIES}); do {text} && break; [ $try -lt {TRIES} ]; sleep 0.5; done"]
        else:
            lines.append(text)
    return "\n".join(lines)


async def typed_into_a_shell(blocks: list[Block], data_dir: Path) -> str:
    """All that the shell prints, beside an installation of its own; it must end well."""
    environment = {**os.environ, "TRADING_DATA_DIR": str(data_dir)}
    async with stack(data_dir, (), lambda _: None):
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", script(blocks), cwd=REPOSITORY, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), TUTORIAL_SECONDS)
    assert process.returncode == 0, out.decode()
    return out.decode()


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(2 * TUTORIAL_SECONDS)
async def test_every_block_does_what_the_page_says() -> None:
    blocks = [block for block in shell_blocks(TUTORIAL.read_text()) if not block.text.startswith(BY_HAND)]
    with TemporaryDirectory(prefix="trading-tutorial-") as folder:
        text = await typed_into_a_shell(blocks, Path(folder))
    seen = [
        "must be one of: moving-average", "10 of 10 at ", '"SIGNAL_ACCEPTED"', "MSFT: FILLED 5 at ",
        "900 × 180 = 162000 > 25000", "/welcome/", "step=place-order", "trading.execution.fill",
        "REQUESTED", "ENGAGED", "KILL_SWITCH", "RELEASED", "moving-average-1 is taken nowhere",
    ]  # fmt: skip
    assert [each for each in seen if each not in text] == [], text
