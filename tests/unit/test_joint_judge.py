"""The judge of joint limits is judged: it finds an approval too many, a refusal too many, and a wrong version."""

import json
from typing import Any

import pytest

from workers.chaos.joint_judge import Judge, Told

ROOM_FOR_TWO: dict[str, Any] = {
    "max_gross_exposure_pct": "100",
    "max_strategy_exposure_pct": "100",
    "max_ticker_exposure_pct": "2",
    "max_open_orders": 100,
}
ROOM_FOR_ONE_ORDER = {**ROOM_FOR_TWO, "max_open_orders": 1}
ROOM_FOR_ONE = {"max_ticker_exposure_pct": "1.9"}


class Log:
    """Rows of an audit log, as the judge asks for them."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self._rows = [{"id": number, **row} for number, row in enumerate(rows, 1)]

    async def fetch(self, _: str, after: int) -> list[dict[str, Any]]:
        return [row for row in self._rows if row["id"] > after]


def limits(version: int, document: dict[str, Any], scope: str = "account", name: str = "") -> dict[str, Any]:
    told = {"scope": scope, "name": name, "version": version, "limits": document}
    return {"decision": "LIMITS_SET", "payload": json.dumps(told), "limits_version": None}


def decided(number: int, decision: str, version: int = 1) -> dict[str, Any]:
    """$1,000 of AAPL."""
    proposal = {
        "signal_id": f"s{number}", "strategy": "momentum", "ticker": "AAPL", "action": "BUY_TO_OPEN",
        "quantity": "10", "limit_price": "100",
    }  # fmt: skip
    return {"decision": decision, "payload": json.dumps({"proposal": proposal}), "limits_version": version}


async def judged(*rows: dict[str, Any], in_flight: int | None = None) -> Told:
    log: Any = Log(*rows)
    return await Judge().read(log, in_flight=in_flight)


A, R = "APPROVED", "REJECTED"


async def test_exactly_the_room_is_good() -> None:
    told = await judged(limits(1, ROOM_FOR_TWO), decided(1, A), decided(2, A), decided(3, R))
    assert (told.approved, told.refused, told.wrong) == (["s1", "s2"], 1, [])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ((decided(1, A), decided(2, A), decided(3, A)), "s3 was approved above max_ticker_exposure_pct"),
        ((decided(1, A), decided(2, R)), "s2 was refused though there was room"),
        (
            (limits(2, ROOM_FOR_ONE, "ticker", "AAPL"), decided(1, A, 2), decided(2, A, 2)),
            "s2 was approved above",
        ),
        (
            (limits(2, ROOM_FOR_ONE_ORDER), decided(1, A, 2), decided(2, A, 2)),
            "s2 was approved above max_open_orders",
        ),
        ((limits(2, ROOM_FOR_ONE, "ticker", "AAPL"), decided(1, A)), "by limits version 1, in force was 2"),
    ],
)
async def test_what_is_wrong_is_found(rows: tuple[dict[str, Any], ...], says: str) -> None:
    [wrong] = (await judged(limits(1, ROOM_FOR_TWO), *rows)).wrong
    assert says in wrong


async def test_what_was_approved_before_a_lowering_stays_and_nothing_follows() -> None:
    lowered = limits(2, {**ROOM_FOR_TWO, "max_ticker_exposure_pct": "0.5"})
    told = await judged(
        limits(1, ROOM_FOR_TWO), decided(1, A), lowered, decided(2, R, 2), decided(3, A, 2), in_flight=2
    )
    assert (told.before_lowering, len(told.wrong)) == (1, 1)
    assert "s3 was approved above" in told.wrong[0]
