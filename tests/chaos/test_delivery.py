"""The delivery run in its short form on each bus, and its judge on made-up records."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from workers.chaos.delivery import Wanted, play
from workers.chaos.delivery_judge import Told, Written, judge, read_lines

KILLS = 20
EVENTS = 1200


@pytest.mark.parametrize("bus", ["postgres", "redis"])
async def test_twenty_kills_of_each_lose_nothing(bus: str, database: str, redis_url: str) -> None:
    """`make delivery` is the long one."""
    folder = Path(tempfile.mkdtemp(prefix="delivery-"))
    try:
        redis = redis_url if bus == "redis" else None
        report = await play(database, redis, folder, Wanted(kills=KILLS, events=EVENTS, seed=1))
    finally:
        shutil.rmtree(folder)
    figures = report.figures
    assert report.good, report.wrong
    assert (figures["events"], figures["lost"], figures["out of order"]) == (EVENTS, 0, 0)
    assert (figures["relays killed"], figures["consumers killed"]) == (KILLS, KILLS)
    assert figures["redeliveries"] > 0, "no kill hit a consumer that held anything"


WRITTEN = {f"e{number}": Written("a", number, number) for number in (1, 2, 3)}
SOUND = tuple(Told(number * 10, 3, 1, number + 6, 1, f"e{number}", "a", number) for number in (1, 2, 3))


def test_a_sound_record_is_good() -> None:
    verdict = judge(WRITTEN, SOUND)
    assert (verdict.wrong, verdict.redeliveries) == ((), 0)
    again = replace(SOUND[1], at_ns=40, attempt=2, fence=2)
    verdict = judge(WRITTEN, (*SOUND, again))
    assert (verdict.wrong, verdict.redeliveries) == ((), 1)
    assert verdict.lags_ms == (9e-6, 18e-6, 27e-6)


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        (SOUND[:2], "1 committed and never told: a 3"),
        (
            (*SOUND, replace(SOUND[0], event_id="e9", position=99, number=9, at_ns=99)),
            "1 told and never committed",
        ),
        ((*SOUND, replace(SOUND[0], at_ns=99)), "1 told again as if for the first time: a 1"),
        (
            (SOUND[0], replace(SOUND[1], at_ns=35), SOUND[2]),
            "1 told out of the order of its key: a 2 after 3",
        ),
        ((*SOUND[:2], replace(SOUND[2], number=4)), "1 told as another event"),
        ((*SOUND, replace(SOUND[2], at_ns=99, attempt=2, position=99)), "1 two positions"),
        ((*SOUND[:2], replace(SOUND[2], position=8)), "1 two positions, or one for two events"),
        ((*SOUND[:2], replace(SOUND[2], partition=4)), "1 a key in two partitions: a"),
    ],
)
def test_each_wrong_is_found(told: tuple[Told, ...], wrong: str) -> None:
    found = judge(WRITTEN, told).wrong
    assert any(each.startswith(wrong) for each in found), found


def test_a_line_that_a_kill_has_cut_off_was_never_recorded() -> None:
    text = "".join(each.line() for each in SOUND)
    assert tuple(read_lines(text)) == SOUND
    assert tuple(read_lines(text[:-3])) == SOUND[:2]
    assert read_lines("12 3") == []
    with pytest.raises(ValueError, match="no line"):
        read_lines("torn in the middle\n")
