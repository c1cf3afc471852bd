"""Orders a second to completion, and the processor time of one, over every process that works for it.

Bursts in turn: first one of each contender, then one of each again, as fast as its door takes them. What the
installation uses while nothing happens is measured before and taken off.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx2

from benchmarks.contenders import Commits, Contender, contenders
from benchmarks.servers import Rig

DOORS: Final = 16
"""Requests under way at a time."""
WARM_UP_PART: Final = 4
"""The burst that warms up is so much smaller."""
IDLE_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.1
PAUSE_SECONDS: Final = 1.0
DONE_WITHIN_SECONDS: Final = 300.0


async def measure(rig: Rig, commits: Commits, *, orders: int, passes: int) -> dict[str, Any]:
    """``passes`` bursts of so many orders of each contender, after a smaller one that warms up.

    A contender that fails is told as failed, and the others go on without it.
    """
    everyone = contenders(rig, commits)
    idle = await _idle(everyone)
    run = _Run(everyone, idle)
    await run.bursts("warm", max(orders // WARM_UP_PART, 1))
    run.forget()
    for number in range(passes):
        await run.bursts(str(number), orders, first=number % len(everyone))
    return {
        "orders": orders * passes,
        "bursts": passes,
        "idle_ms_a_second": {
            name: {process: round(each, 1) for process, each in used.items()} for name, used in idle.items()
        },
        "rows": [run.row(each, orders * passes) for each in everyone],
    }


class _Run:
    """Burst by burst."""

    def __init__(self, everyone: Sequence[Contender], idle: Mapping[str, Mapping[str, float]]) -> None:
        self._everyone = everyone
        self._idle = idle
        self._failed: dict[str, str] = {}
        self.forget()

    def forget(self) -> None:
        """What was measured so far."""
        self._seconds: dict[str, float] = defaultdict(float)
        self._used: dict[str, dict[str, float]] = {each.name: defaultdict(float) for each in self._everyone}

    async def bursts(self, word: str, orders: int, *, first: int = 0) -> None:
        """One of each contender."""
        for index in (*range(first, len(self._everyone)), *range(first)):
            contender = self._everyone[index]
            if contender.name in self._failed:
                continue
            try:
                took, spent = await _burst(contender, f"burst-{index}-{word}-", orders)
            except (RuntimeError, httpx2.HTTPError) as error:
                self._failed[contender.name] = f"{type(error).__name__}: {error}"
                continue
            self._seconds[contender.name] += took
            idle = self._idle[contender.name]
            for name, used in spent.items():
                self._used[contender.name][name] += max(used - idle[name] * took, 0)

    def row(self, contender: Contender, count: int) -> dict[str, Any]:
        """One line."""
        if contender.name in self._failed:
            return {"contender": contender.name, "failed": self._failed[contender.name]}
        used = self._used[contender.name]
        return {
            "contender": contender.name,
            "orders_a_second": round(count / self._seconds[contender.name], 2),
            "cpu_ms": {name: round(each / count, 1) for name, each in used.items()},
            "cpu_ms_all": round(sum(used.values()) / count, 1),
        }


async def _idle(found: Sequence[Contender]) -> dict[str, dict[str, float]]:
    """By contender, processor milliseconds that each process uses in a second in which nobody asks for anything."""
    before, began = {each.name: each.cpu_ms() for each in found}, time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    seconds = time.monotonic() - began
    return {
        each.name: {name: (used - before[each.name][name]) / seconds for name, used in each.cpu_ms().items()}
        for each in found
    }


async def _burst(contender: Contender, prefix: str, orders: int) -> tuple[float, Mapping[str, float]]:
    """Seconds from the first request to the last one's end, and the processor milliseconds of each process."""
    doors = asyncio.Semaphore(DOORS)

    async def one(name: str) -> None:
        async with doors:
            answer = await contender.send(name)
        if answer.status_code != httpx2.codes.ACCEPTED:
            raise RuntimeError(f"{contender.name}, {name}: {answer.status_code} {answer.text}")

    before, began = contender.cpu_ms(), time.monotonic()
    await asyncio.gather(*(one(f"{prefix}{number}") for number in range(orders)))
    while await contender.done(prefix) < orders:
        if time.monotonic() - began > DONE_WITHIN_SECONDS:
            raise RuntimeError(
                f"{contender.name}: not all of {orders} were done after {DONE_WITHIN_SECONDS:g} s"
            )
        await asyncio.sleep(LOOK_SECONDS)
    took = time.monotonic() - began
    after = contender.cpu_ms()
    await asyncio.sleep(PAUSE_SECONDS)
    return took, {name: each - before[name] for name, each in after.items()}
