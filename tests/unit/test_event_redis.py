"""The Redis client's edges: a cancellation is always heard, and an address says what it must and no more."""

import asyncio
from collections.abc import Mapping

import pytest

from events.redis_scripts import heard, script_text
from workers.settings import EventBusSettings, SettingsError, read_settings


async def test_a_cancellation_that_is_passed_over_is_heard() -> None:
    """How: what is awaited does as wait_for of Python 3.11 when its answer has just come."""
    waiting = asyncio.Event()

    async def passes_over() -> int:
        try:
            waiting.set()
            await asyncio.sleep(1e4)
        except asyncio.CancelledError:
            return 1
        return 0

    task = asyncio.create_task(heard(passes_over()))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await heard(passes_over())


async def test_whoever_was_cancelled_before_may_still_tidy_up() -> None:
    told: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1e4)
        finally:
            told.append(await heard(asyncio.sleep(0, "acknowledged")))

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == ["acknowledged"]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, None),
        ({"EVENT_REDIS_URL": "redis://valkey:6379/0"}, None),
        ({"EVENT_BUS": "redis", "EVENT_REDIS_URL": "redis://valkey:6379/0"}, "redis://valkey:6379/0"),
        (
            {
                "EVENT_BUS": "redis",
                "EVENT_REDIS_URL": "rediss://r.example:6380/2",
                "EVENT_REDIS_PASSWORD": "a/b",
            },
            "rediss://:a%2Fb@r.example:6380/2",
        ),
    ],
)
def test_where_events_go(
    given: Mapping[str, str], address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"TRADING_{name}", value)
    assert read_settings(EventBusSettings).event_redis == address


@pytest.mark.parametrize(
    "url",
    ["", "http://valkey:6379", "redis://:canary@valkey:6379/0", "redis://valkey:6379/0?x=canary", "valkey"],
)
def test_what_is_no_address_is_refused_and_not_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_EVENT_BUS", "redis")
    monkeypatch.setenv("TRADING_EVENT_REDIS_URL", url)
    with pytest.raises(SettingsError, match="EVENT_REDIS_URL") as refused:
        read_settings(EventBusSettings)
    assert "canary" not in str(refused.value).lower()


def test_every_script_says_what_it_is_given() -> None:
    for name in ("take", "settle", "join", "lead", "rebuild", "add_group", "answer", "publish", "open",
                 "send_letter", "state", "copied", "trim"):  # fmt: skip
        assert script_text(name).startswith("-- ")
        assert "KEYS: prefix. ARGV:" in script_text(name)
