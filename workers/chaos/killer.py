"""Who is killed, when, and how long until all was well again."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from workers.chaos.stage import Stage
from workers.chaos.victims import DATABASE, GATEWAY, TEMPORAL

SHARES: Final[Mapping[str, int]] = {
    "execution": 21, "orders": 19, "operations": 19, "risk": 14, GATEWAY: 13, DATABASE: 7, TEMPORAL: 7,
}  # fmt: skip
"""Of a hundred kills, whom they hit."""
FIRST: Final = tuple(SHARES)
"""A run too short for the shares kills these in turn."""
PAUSE_SECONDS: Final = (1.0, 5.0)
"""From one kill to the next, and never before the former victim is ready again."""
KILLS_FULL: Final = 200
LEAST: Final[Mapping[str, int]] = {"orders": 20, "execution": 20, "operations": 20, DATABASE: 5, TEMPORAL: 5}
"""How often each is killed in a run of ``KILLS_FULL``; shorter runs need their part of it, rounded down."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill; ``at`` in seconds of the wall clock, ``seconds`` until the victim was ready again."""

    victim: str
    at: float
    seconds: float
    former_ready: bool
    """Whether the victim before it was ready again."""


def choose(kills: int, random: Random) -> list[str]:
    """Victims in a random order, each as often as its share says."""
    if kills <= len(FIRST):
        return random.sample(FIRST, kills)
    exact = {name: share * kills / 100 for name, share in SHARES.items()}
    counts = {name: math.floor(number) for name, number in exact.items()}
    by_rest = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_rest[: kills - sum(counts.values())]:
        counts[name] += 1
    victims = [name for name, count in counts.items() for _ in range(count)]
    random.shuffle(victims)
    return victims


class Killer:
    """Kills one after the other."""

    def __init__(self, stage: Stage, victims: Sequence[str], random: Random) -> None:
        self._stage = stage
        self._victims = victims
        self._random = random
        self.done: list[Kill] = []

    async def run(self, each: Callable[[int], Any]) -> None:
        """Kill them all; ``each`` is told the count after every kill.

        Raises:
            StageError: a victim did not come back.
        """
        stage, former = self._stage, None
        for victim in self._victims:
            pause = self._random.uniform(*PAUSE_SECONDS)
            began = time.monotonic()
            # One that died with another, as a worker may without its database, must be back too.
            await stage.until_ready(victim)
            former_ready = former is None or stage.is_up(former)
            at, killed_at = time.time(), time.monotonic()
            await stage.kill(victim)
            former = victim
            await stage.until_ready(victim)
            self.done.append(Kill(victim, at, time.monotonic() - killed_at, former_ready))
            each(len(self.done))
            await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))


def wrong_kills(kills: Sequence[Kill], wanted: int) -> list[str]:
    """Why these kills are not the run that was asked for."""
    counts = Counter(kill.victim for kill in kills)
    wrong = [f"{len(kills)} kills of {wanted}"] if len(kills) < wanted else []
    wrong += [
        f"{name} was killed {counts[name]} times, {least} are needed"
        for name, full in LEAST.items()
        if counts[name] < (least := full * wanted // KILLS_FULL)
    ]
    early = sum(not kill.former_ready for kill in kills)
    return [*wrong, f"{early} kills came before the former victim was ready"] if early else wrong


def percentiles(seconds: Iterable[float]) -> dict[str, float | None]:
    """p50, p99 and max, in seconds; nearest rank."""
    ranked = sorted(seconds)
    if not ranked:
        return {"p50": None, "p99": None, "max": None}
    ranks = {"p50": 0.50, "p99": 0.99, "max": 1.0}
    return {name: round(ranked[math.ceil(part * len(ranked)) - 1], 2) for name, part in ranks.items()}


def until_progress(kills: Iterable[Kill], events: Sequence[float]) -> list[float]:
    """Seconds from each kill to the next event of any order; a kill after the last one is left out."""
    found = []
    for kill in kills:
        after = next((at for at in events if at > kill.at), None)
        if after is not None:
            found.append(after - kill.at)
    return found
