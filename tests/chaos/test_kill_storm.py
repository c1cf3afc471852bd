"""The kill switch's storm in its short form, and its judge on made-up ledgers."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from schemas.kill import OrderFate
from storage.placement import FENCE_KEY
from tests.chaos.test_judge import Venue
from workers.chaos import kill_operator
from workers.chaos.kill_judge import Activation, judge
from workers.chaos.kill_operator import Operator
from workers.chaos.kill_storm import EXCHANGE, Wanted, storm, wrong_run
from workers.chaos.kill_variants import make_variants
from workers.chaos.stage import staged
from workers.chaos.victims import GivenUp, StageError

SHORT = Wanted(activations=3, seed=1, topology="compact", variants=(), quiet=True)


async def test_a_short_storm_lets_no_order_through() -> None:
    """A signal, the real `temporal` command and `trading kill`, one after the other."""
    report = await storm(SHORT)
    assert report.good, report.wrong
    figures = report.figures
    assert figures["by"] == {"signal": 1, "temporal workflow signal": 1, "trading kill": 1}
    assert (figures["posts_after_return"], figures["not_named"], figures["unconfirmed"]) == (0, 0, 0)
    assert figures["open_orders"] >= 1


async def test_short_variants_let_no_order_through() -> None:
    """Two of the eight, in one process; the others need processes that can be broken alone: `make chaos-kill`."""
    names = ("second_activation", "session_lost")
    async with staged(topology="compact", exchange_options=EXCHANGE) as stage, Operator(stage) as operator:
        made = await make_variants(stage, operator, names)
    assert {each.name: each.wrong for each in made} == {name: [] for name in names}
    assert [each.figures["posts_after_return"] for each in made] == [0, 0]


@pytest.mark.slow
async def test_a_storm_without_the_fence_is_found_out() -> None:
    """How: execution places whatever it is asked to; orders arrive after activations that have returned."""
    script = str(Path(__file__).with_name("unfenced.py"))
    commands = {"compact": (sys.executable, script, "compact")}
    report = await storm(replace(SHORT, activations=12, commands=commands))
    assert report.figures["posts_after_return"] > 0
    assert not report.good


async def test_an_activation_that_never_returns_is_found(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: nobody engages; then somebody who is not in the way of it holds the fence for ever."""
    monkeypatch.setattr(kill_operator, "RETURNED_WITHIN_SECONDS", 0.5)
    operator = Operator(SimpleNamespace(owner_dsn=database))  # type: ignore[arg-type]
    async with operator:
        with pytest.raises(StageError, match="not engaged"):
            await operator.until_returned(0)
        await operator.by_row()
        monkeypatch.setattr(kill_operator, "RETURNED_WITHIN_SECONDS", 5)
        holder = await asyncpg.connect(database, server_settings={"application_name": "stopped"})
        await holder.execute("select pg_advisory_lock_shared($1::bigint)", FENCE_KEY)
        with pytest.raises(StageError, match="held by stopped"):
            await operator.until_returned(0)
        await holder.close()


@pytest.mark.slow
async def test_a_storm_that_comes_to_no_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> None:
        raise StageError("an activation has not returned")

    monkeypatch.setattr(Operator, "until_returned", never)
    with pytest.raises(GivenUp, match="has not returned"):
        await storm(SHORT)


def activation(venue: Venue, **fields: Any) -> Activation:
    """One that began, returned and was confirmed where the ledger stands now, and is released later."""
    now = len(venue.records)
    found = Activation(
        number=0, how="signal", began_seq=now, returned_seq=now, confirmed_seq=now, released_seq=now + 100,
        returned_seconds=0.1, confirmed_seconds=0.2,
    )  # fmt: skip
    return replace(found, **fields)


def test_a_sound_activation_is_good() -> None:
    """One order was cancelled, one filled, one was in flight and is told as unknown."""
    venue = Venue()
    canceled, filled = venue.placed("ti-a"), venue.placed("ti-b")
    began = activation(venue, in_flight=frozenset({"ti-c"}))
    venue.placed("ti-c")
    venue.end(canceled)
    venue.fill(filled)
    ended = activation(
        venue,
        began_seq=began.began_seq,
        in_flight=began.in_flight,
        fates={"ti-a": OrderFate.CANCELED, "ti-b": OrderFate.FILLED, "ti-c": OrderFate.UNKNOWN},
    )
    verdict = judge(venue.ledger, [ended])
    assert verdict.wrong == []
    assert verdict.figures["became"] == {"cancelled": 1, "filled": 1, "told as unknown": 1}
    assert verdict.figures["while_a_post_was_unanswered"] == 1


def test_an_order_that_is_received_after_it_returned_is_found() -> None:
    venue = Venue()
    made = activation(venue)
    venue.post("ti-late", 403)
    verdict = judge(venue.ledger, [made])
    assert verdict.figures["posts_after_return"] == 1
    assert "ti-late" in verdict.wrong[0]


def test_one_that_came_before_the_release_and_was_kept_waiting_is_found() -> None:
    """How: records of other things are written meanwhile, and the switch is released before it lands."""
    venue = Venue()
    made = activation(venue, released_seq=2)
    for own in ("ti-a", "ti-b"):
        venue.look_up(own)
    venue.post("ti-late", 200, arrived_after=1)
    venue.post("ti-next", 200, arrived_after=2)
    assert [text.split(": ")[1] for text in judge(venue.ledger, [made]).wrong] == [
        "ti-late was received after it had returned"
    ]


def test_one_that_comes_after_the_release_is_none() -> None:
    venue = Venue()
    made = activation(venue, released_seq=0)
    venue.placed("ti-next")
    assert judge(venue.ledger, [made]).wrong == []


def test_an_order_that_stays_open_without_a_name_is_found() -> None:
    venue = Venue()
    venue.placed("ti-forgotten")
    verdict = judge(venue.ledger, [activation(venue, began_seq=0)])
    assert verdict.figures["not_named"] == 1
    assert "ti-forgotten" in verdict.wrong[0]


def test_a_fate_that_the_ledger_contradicts_is_found() -> None:
    venue = Venue()
    order = venue.placed("ti-a")
    venue.fill(order)
    verdict = judge(venue.ledger, [activation(venue, fates={"ti-a": OrderFate.CANCELED})])
    assert (verdict.figures["misnamed"], len(verdict.wrong)) == (1, 1)


def test_a_fate_that_comes_true_only_later_is_found() -> None:
    """How: told as cancelled while it was open; the next activation has cancelled it."""
    venue = Venue()
    order = venue.placed("ti-a")
    told = activation(venue, fates={"ti-a": OrderFate.CANCELED})
    venue.end(order)
    assert judge(venue.ledger, [told]).figures["misnamed"] == 1


def test_a_sweep_that_is_never_confirmed_is_found() -> None:
    venue = Venue()
    assert judge(venue.ledger, [activation(venue, confirmed_seconds=None)]).wrong


def test_a_run_that_shows_too_little_is_none() -> None:
    figures: dict[str, Any] = {"activations": 100, "while_a_post_was_unanswered": 30, "by": {}}
    assert len(wrong_run(figures, 100)) == 2
    figures["by"] = {"temporal workflow signal": 2, "trading kill": 2}
    assert wrong_run(figures, 100) == []
    assert len(wrong_run(figures | {"while_a_post_was_unanswered": 29}, 100)) == 1
