"""A person's words about limits: what they become, and what is told of those that cannot be meant."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from console.errors import BadUsage
from console.limits_change import edited, from_file, until, wanted
from schemas.limits import StrategyLimits, TickerLimits
from schemas.risk import Limits, LimitScope
from tests.unit.risk_builders import LIMITS

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
ACCOUNT = LIMITS.model_dump(mode="json")


def test_fields_are_changed_on_what_is_stored() -> None:
    made = edited(
        LimitScope.ACCOUNT, ACCOUNT,
        ["max_order_notional=12000.50", "max_open_orders=7", "restricted_tickers=GME,AMC",
         "restricted_tickers+=BB,GME", "restricted_tickers-=AMC", "short_selling_strategies="],
    )  # fmt: skip
    assert isinstance(made, Limits)
    expected = LIMITS.model_copy(
        update={
            "max_order_notional": Decimal("12000.50"), "max_open_orders": 7,
            "restricted_tickers": ("GME", "BB"), "short_selling_strategies": (),
        }
    )  # fmt: skip
    assert made == expected


def test_a_strategys_row_holds_what_is_given_and_can_lose_it() -> None:
    made = edited(LimitScope.STRATEGY, {"max_order_notional": "5"}, ["max_strategy_exposure_pct=3"])
    assert made == StrategyLimits(max_order_notional=Decimal(5), max_strategy_exposure_pct=Decimal(3))
    fewer = edited(LimitScope.STRATEGY, made.model_dump(mode="json"), ["max_order_notional=none"])
    assert fewer == StrategyLimits(max_strategy_exposure_pct=Decimal(3))
    assert edited(LimitScope.TICKER, {}, ["max_ticker_exposure_pct=3"]) == TickerLimits(
        max_ticker_exposure_pct=Decimal(3)
    )


@pytest.mark.parametrize(
    ("scope", "edit", "says"),
    [
        ("account", "max_order_notional", "is no change"),
        ("account", "max_notional=5", "no limit is called max_notional"),
        ("account", "max_order_notional=0", "max_order_notional: Input should be greater than 0"),
        ("account", "max_order_notional=NaN", "max_order_notional: Input should be a finite number"),
        ("account", "max_order_notional=1e30", "max_order_notional: Decimal input should have no more than"),
        (
            "account",
            "max_order_notional=0.00000000001",
            "max_order_notional: Decimal input should have no more than",
        ),
        ("account", "max_order_notional=none", "max_order_notional: Input should be a valid decimal"),
        ("account", "max_open_orders=1.5", "max_open_orders: Input should be a valid integer"),
        ("account", "max_open_orders+=1", "max_open_orders is no list"),
        ("strategy", "max_gross_exposure_pct=5", "is not measured for a strategy by itself"),
        ("ticker", "allowed_tickers=AAPL", "is not measured for a ticker by itself"),
        ("strategy", "max_order_notional=none", "no limit would be left"),
    ],
)
def test_what_cannot_be_meant_is_named(scope: str, edit: str, says: str) -> None:
    stored = ACCOUNT if scope == "account" else {}
    with pytest.raises(BadUsage) as told:
        edited(LimitScope(scope), stored, [edit])
    assert says in told.value.what


@pytest.mark.parametrize("scope", [LimitScope.ACCOUNT, LimitScope.STRATEGY])
def test_taking_away_the_last_allowed_ticker_never_allows_all(scope: LimitScope) -> None:
    stored = {**(ACCOUNT if scope is LimitScope.ACCOUNT else {}), "allowed_tickers": ["AAPL", "MSFT"]}
    with pytest.raises(BadUsage, match="an empty list allows every ticker"):
        edited(scope, stored, ["allowed_tickers-=AAPL", "allowed_tickers-=MSFT"])
    assert edited(scope, stored, ["allowed_tickers-=AAPL"]).model_dump()["allowed_tickers"] == ("MSFT",)
    assert edited(scope, stored, ["allowed_tickers="]).model_dump()["allowed_tickers"] == ()


def test_a_document_of_an_older_release_is_completed_by_name() -> None:
    old = {field: value for field, value in ACCOUNT.items() if field != "max_drawdown_pct"}
    with pytest.raises(BadUsage, match="max_drawdown_pct: Field required"):
        edited(LimitScope.ACCOUNT, old, ["max_open_orders=7"])
    assert edited(LimitScope.ACCOUNT, old, ["max_drawdown_pct=10"]) == LIMITS


def test_a_file_is_the_whole_document(tmp_path: Path) -> None:
    file = tmp_path / "limits.json"
    file.write_text(json.dumps(ACCOUNT))
    assert from_file(LimitScope.ACCOUNT, file) == LIMITS
    file.write_text('{"max_order_notional": 100.10}')
    assert from_file(LimitScope.STRATEGY, file) == StrategyLimits(max_order_notional=Decimal("100.10"))
    with pytest.raises(BadUsage, match="max_order_quantity: Field required"):
        from_file(LimitScope.ACCOUNT, file)
    for text in ("[]", "{", '{"max_orders": 1}', "{}"):
        file.write_text(text)
        with pytest.raises(BadUsage):
            from_file(LimitScope.STRATEGY, file)
    with pytest.raises(BadUsage, match="cannot be read"):
        from_file(LimitScope.ACCOUNT, tmp_path / "absent")


def test_ends_of_a_raise() -> None:
    assert until("30m", NOW) == NOW + timedelta(minutes=30)
    assert until("2h", NOW) == NOW + timedelta(hours=2)
    assert until("90s", NOW) == NOW + timedelta(seconds=90)
    assert until("2026-11-26T15:00:00+01:00", NOW) == datetime(2026, 11, 26, 14, 0, tzinfo=UTC)
    for text in ("soon", "30", "2026-11-26T15:00:00", "15:00", "1d"):
        with pytest.raises(BadUsage):
            until(text, NOW)


def test_one_owner_at_a_time() -> None:
    assert wanted(None, None).scope is LimitScope.ACCOUNT
    assert wanted("momentum", None).owner == "strategy momentum"
    assert wanted(None, "AAPL").owner == "ticker AAPL"
    with pytest.raises(BadUsage):
        wanted("momentum", "AAPL")
