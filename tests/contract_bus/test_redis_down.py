"""Redis that takes nothing: how far publishing is behind is told all the same: `RedisLag` is a rule about it."""

import asyncio

import pytest

from events.redis_feed import RedisFeed
from events.redis_scripts import connect
from tests.contract_bus.conftest import Venue, ended
from workers.datadir import free_port


@pytest.fixture
def adapter() -> str:
    """Nobody else leads: events are numbered, and no feed runs but the test's."""
    return "postgres"


def told(venue: Venue) -> tuple[float, float]:
    """(events, seconds) that wait, as a scrape sees them."""
    lines = [line.split() for line in venue.metrics.render().decode().splitlines()]
    found = {line[0]: float(line[1]) for line in lines if line[0].startswith("redis_")}
    return found.get("redis_events_waiting", 0), found.get("redis_lag_seconds", 0)


@pytest.mark.parametrize("case", ["nobody listens", "memory is full"])
async def test_the_lag_grows_while_redis_takes_nothing(venue: Venue, case: str) -> None:
    """How: an address where nobody listens; then the real server, told to hold no more than it has."""
    await venue.publish("a", 1, 2)
    await venue.until_row(0, "select count(*)::int from events where position is null")
    url = f"redis://127.0.0.1:{free_port()}/0" if case == "nobody listens" else venue.redis_url
    async with connect(venue.redis_url) as client:
        if case == "memory is full":
            await client.config_set("maxmemory", 1)
        task = asyncio.create_task(RedisFeed(venue.dsn, url, venue.metrics).run())
        try:
            await venue.until(lambda: told(venue)[0] >= 2, "both wait")
            before = told(venue)[1]
            await venue.until(lambda: told(venue)[1] > before, "and longer and longer")
            assert told(venue)[0] == 2, "neither is told twice, nor forgotten"
            if case == "memory is full":
                await client.config_set("maxmemory", 0)
                await venue.until(lambda: told(venue) == (0, 0), "once it takes them there is none")
        finally:
            await client.config_set("maxmemory", 0)
            await ended(task)
