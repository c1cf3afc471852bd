"""Signals that arrive together never pass a limit together; `make joint-limits` plays a thousand rounds of them."""

from workers.chaos.joint_limits import play
from workers.chaos.joint_rooms import ROOMS


async def test_64_signals_from_4_processes_fill_exactly_the_room(database: str) -> None:
    """Each kind of limit, every other lowered in mid-flight; the judge reads decision by decision."""
    report = await play(database, database, rounds=6, lower=(False, True), seed=5)
    assert report.wrong == ()
    assert (report.figures["rounds"], report.figures["lowered in mid-flight"]) == (6, 3)
    assert set(report.figures["approved by limit"]) == {kind.name for kind in ROOMS}
