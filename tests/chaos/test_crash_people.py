"""The people at the console of a crash sweep: what they do when they are refused, late, or asked twice."""

import asyncio
from typing import Any

import httpx2
import pytest

from workers.chaos import crash_sign_in
from workers.chaos.authenticator import Passkey
from workers.chaos.crash_play import WrongEnd
from workers.chaos.crash_sign_in import AtConsole, Lost


class Slow(AtConsole):
    """A person whose steps take so long, once."""

    def __init__(self) -> None:
        self.name = "cp-1"
        self.tries = 0

    async def step(self) -> None:
        self.tries += 1
        if self.tries == 1:
            raise TimeoutError


async def test_a_step_at_the_console_that_was_too_slow_is_taken_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a database that did not let us in within its time."""
    monkeypatch.setattr(crash_sign_in, "PAUSE_SECONDS", 0)
    person = Slow()
    await person.until(person.step, "signed in")
    assert person.tries == 2


async def test_a_step_at_the_console_is_given_up_with_what_was_answered_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not with the time that was over, which tells nobody what was wrong."""
    monkeypatch.setattr(crash_sign_in, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(crash_sign_in, "END_SECONDS", 0.2)
    answers = iter([Lost("at /login/second")])

    async def step() -> None:
        for error in answers:
            raise error
        await asyncio.sleep(60)

    with pytest.raises(WrongEnd, match="not signed in: Lost at /login/second"):
        await Slow().until(step, "signed in")


class AtDesk(AtConsole):
    """A person whose act goes on until it is let go."""

    def __init__(self) -> None:
        self.acts = 0
        self.goes_on = asyncio.Event()

    async def act(self) -> None:
        self.acts += 1
        await self.goes_on.wait()
        raise Lost


async def test_a_person_of_the_sweep_does_one_thing_at_a_time() -> None:
    """Two at once use up each other's challenges, until a lock keeps the person out for good."""
    person = AtDesk()
    first = asyncio.create_task(person.provoke())
    await asyncio.sleep(0)
    await person.provoke()
    assert person.acts == 1
    person.goes_on.set()
    await first
    await person.provoke()
    assert person.acts == 2


@pytest.mark.parametrize(("status", "unlocked"), [(401, 1), (200, 0)])
async def test_a_person_of_the_sweep_whose_factor_is_refused_is_unlocked(status: int, unlocked: int) -> None:
    """Else trying on, every third of a second, prolongs the wait for ever."""
    person = Refused(status)
    await person.show_passkey()
    assert person.unlocked == unlocked


class Refused(AtConsole):
    """A person whose second factor gets this answer."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.unlocked = 0
        self.passkey = Passkey()
        self.origin = "http://localhost"

    async def post(self, path: str, data: Any = None, *, json: Any = None) -> httpx2.Response:
        options = {"challenge": "c", "rpId": "localhost"}
        return httpx2.Response(200 if path.endswith("options") else self.status, json=options)

    async def unlock(self) -> None:
        self.unlocked += 1
