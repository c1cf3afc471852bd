"""The demonstration's own reading of recorded quotes: where it goes, and which fills it calls wrong."""

import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from console.demo_exchange import Shown
from console.demo_scenes import examples_at, plan, selling
from console.errors import BadUsage
from console.recordings import judge_fills, read_recordings
from schemas.orders import OrderStatus

TEN = datetime(2013, 10, 8, 14, 0, tzinfo=UTC)
"""10:00 New York."""
HEADER = "time,bid,bid_size,ask,ask_size\n"


def write(folder: Path, *rows: tuple[datetime, str, str], name: str = "XYZ") -> Path:
    path = folder / f"{name}-20131008-second.csv.gz"
    with gzip.open(path, "wt") as lines:
        lines.write(HEADER + "".join(f"{at.isoformat()},{bid},100,{ask},100\n" for at, bid, ask in rows))
    return path


def seconds(begin: datetime, count: int, bid: str, ask: str) -> list[tuple[datetime, str, str]]:
    return [(begin + timedelta(seconds=number), bid, ask) for number in range(count)]


def test_a_wide_pre_market_that_lasts_is_gone_to_before_a_lively_morning(tmp_path: Path) -> None:
    early = TEN - timedelta(hours=5)
    lone = (early, "90", "110")
    lasting = early + timedelta(minutes=10)
    rows = [lone, *seconds(lasting, 40, "97", "103"), *seconds(TEN, 60, "100", "100.02")]
    file = write(tmp_path, *rows)
    assert [scene.at for scene in plan(read_recordings([file]))] == [lasting, TEN]


def test_each_day_of_joined_files_is_gone_to(tmp_path: Path) -> None:
    """How: the first day's last quote falls on the second's date in UTC."""
    next_day = TEN + timedelta(days=1)
    late = TEN + timedelta(hours=10, seconds=1)
    rows = [*seconds(TEN, 60, "100", "100.02"), (late, "100", "100.02")]
    file = write(tmp_path, *rows, *seconds(next_day, 60, "100", "100.02"))
    assert [scene.at for scene in plan(read_recordings([file]))] == [TEN, next_day]


def test_a_wide_quote_that_nothing_follows_is_better_than_none(tmp_path: Path) -> None:
    early = TEN - timedelta(hours=5)
    file = write(tmp_path, (early, "90", "110"), (TEN, "100", "100.02"))
    assert [scene.at for scene in plan(read_recordings([file]))] == [early, TEN]


def test_examples_follow_what_the_market_shows() -> None:
    def names(now: datetime, *, age_seconds: int = 1, bid: str = "100") -> list[tuple[str, Any]]:
        shown = Shown(now - timedelta(seconds=age_seconds), Decimal(bid), Decimal("100.02"))
        found = examples_at(now, {"XYZ": shown}, ["XYZ"], scene=1)
        return [(each.name, each.ends) for each in found]

    morning = names(TEN)
    assert [name for name, _ in morning] == ["buy-XYZ-1", "limit-XYZ-1", "resting-XYZ-1"]
    assert names(TEN, age_seconds=16) == [("stale-XYZ-1", OrderStatus.REJECTED)]
    early = TEN - timedelta(hours=2)
    assert names(early, bid="97") == [
        ("closed-XYZ-1", OrderStatus.REJECTED),
        ("wide-XYZ-1", OrderStatus.REJECTED),
    ]
    assert names(early)[1] == ("early-XYZ-1", None)
    shown = {"XYZ": Shown(TEN, Decimal(100), Decimal("100.02"))}
    (sale,) = selling(examples_at(TEN, shown, ["XYZ"], scene=1))
    assert (sale.fields["action"], sale.fields["quantity"]) == ("SELL_TO_CLOSE", "9")


CREATED = {"kind": "order_created", "seq": 1, "order": {"id": "o", "symbol": "XYZ"}}


@pytest.mark.parametrize(
    ("price", "quote_at", "at", "is_inside"),
    [
        ("100.02", 3, 3, True),
        ("100", 3, 3, True),
        ("100.01", 3, 3, True),
        ("100.03", 3, 3, False),
        ("99.99", 3, 3, False),
        ("100.02", 3, 8, True),
        ("100.02", 3, 9.5, False),
        ("100.02", 3, 2, False),
        ("100.02", 3.5, 4, False),
        ("100.02", None, 3, False),
    ],
)
def test_a_fill_is_judged_by_the_quote_it_says_it_met(
    tmp_path: Path, price: str, quote_at: float | None, at: float, is_inside: bool
) -> None:
    """How: a quote each second; the exchange may be 5 s late, and no fill comes before its quote."""

    def moment(second: float) -> str:
        return (TEN + timedelta(seconds=second)).isoformat()

    recordings = read_recordings([write(tmp_path, *seconds(TEN, 20, "100", "100.02"))])
    fill = {"kind": "order_executed", "seq": 2, "order_id": "o", "price": price, "at": moment(at)}
    if quote_at is not None:
        fill["quote_at"] = moment(quote_at)
    judged = judge_fills(recordings, [CREATED, fill], speed=Decimal(1), after=1)
    assert (judged.count, not judged.outside) == (1, is_inside)
    assert judge_fills(recordings, [CREATED, fill], speed=Decimal(1), after=2).count == 0


def test_a_fill_of_a_symbol_nobody_recorded_is_outside(tmp_path: Path) -> None:
    fill = {"kind": "order_executed", "seq": 2, "order_id": "o", "price": "1", "at": TEN.isoformat()}
    assert judge_fills({}, [CREATED, fill], speed=Decimal(1), after=0).outside


@pytest.mark.parametrize("text", [None, "time,bid\nnoon,1\n", "a\nb\n"])
def test_a_file_that_is_none_is_bad_usage(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "XYZ-20131008-second.csv.gz"
    file.write_bytes(b"no gzip" if text is None else gzip.compress(text.encode()))
    with pytest.raises(BadUsage, match="XYZ-20131008"):
        read_recordings([file])
