"""How far apart those come back that wait for a request."""

import random
from datetime import timedelta

import pytest

from activities.crowd import Crowd


def test_who_is_not_heard_of_any_more_spreads_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, most: most)
    now = 0.0
    crowd = Crowd(monotonic=lambda: now)
    pause = timedelta(seconds=1)
    for number in range(20):
        crowd.add(f"gone-{number}")
    assert crowd.spread(pause) == timedelta(seconds=6)
    now = 60.0
    crowd.add("here")
    assert crowd.spread(pause) == timedelta(seconds=6.25)
    now = 60.1
    crowd.add("here")
    assert crowd.spread(pause) == timedelta(seconds=1.25)
    crowd.remove("here")
    assert crowd.spread(pause) == pause
    for number in range(100):
        crowd.add(f"many-{number}")
    assert crowd.spread(pause) == timedelta(seconds=11)
