"""``trading limits``: shown with where each comes from; set, raised for a time, cleared; who and why is told."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from console.main import run
from tests.console.commands import Trading, environment
from tests.postgres.books import LIMITS

WHY = ("--reason", "a quiet day")
Command = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
def limits(database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Give ``trading limits``, run in this process: code and what it printed as JSON."""
    monkeypatch.setenv("TRADING_DATABASE_URL", database)

    async def command(*arguments: str) -> tuple[int, Any]:
        code = await asyncio.to_thread(run, ("limits", *arguments, "--json"))
        return code, json.loads(capsys.readouterr().out)

    return command


async def test_limits_are_set_raised_cleared_and_told(limits: Command, database: str, tmp_path: Path) -> None:
    trading = Trading(environment(TRADING_DATABASE_URL=database))
    file = tmp_path / "limits.json"
    file.write_text(json.dumps(LIMITS))
    code, told = await limits("show")
    assert (code, told["error"]["message"]) == (1, "none are set: nothing may trade")
    code, told = await limits("set", "--file", str(file), *WHY, "--author", "ann")
    assert (code, told["version"], told["decision"]) == (0, 1, "LIMITS_SET")
    code, told = await limits("set", "max_order_notional=1000", "restricted_tickers+=GME", *WHY)
    assert (code, told["decision"]) == (0, "LIMITS_LOWERED")
    assert [each["field"] for each in told["changes"]] == ["max_order_notional", "restricted_tickers"]
    raised = await trading("limits", "set", "max_order_notional=5000", "--until", "30m", *WHY)
    assert raised.code == 0
    assert "account: version 3, until " in raised.out
    assert "then version 2 again" in raised.out
    assert all(word in raised.out for word in ("max_order_notional", "1000", "5000", "raised"))
    code, told = await limits("set", "max_order_notional=70", "--strategy", "momentum", *WHY)
    assert told["changes"] == [
        {"field": "max_order_notional", "before": "not given", "after": "70", "wider": False}
    ]
    code, told = await limits("show", "--strategy", "momentum", "--ticker", "AAPL")
    assert (told["version"], told["rows"]) == (4, [{"of": "strategy momentum", "version": 4}])
    source = {"scope": "strategy", "name": "momentum", "version": 4, "expires_at": None}
    assert told["limits"]["max_order_notional"] == {"value": "70", "from": [source]}
    assert told["limits"]["max_open_orders"]["from"][0]["expires_at"] is not None
    code, told = await limits("clear", "--strategy", "momentum", *WHY)
    assert (told["version"], told["decision"]) == (5, "LIMITS_RAISED")
    code, told = await limits("clear", "--strategy", "momentum", *WHY)
    assert (code, told["version"]) == (0, None)
    code, told = await limits("history", "--all")
    assert [(each["version"], each["state"]) for each in told] == [
        (5, "in force"), (4, "replaced"), (3, "in force"), (2, "under a raise"), (1, "replaced"),
    ]  # fmt: skip
    assert (told[-1]["author"], told[-1]["reason"]) == ("ann", "a quiet day")
    drawn = await trading("limits", "show")
    assert "account (3)" in drawn.out
    assert drawn.out.count(" UTC") == drawn.out.count("account (3)") == 18


async def test_refusals_and_bad_usage_change_nothing(limits: Command, tmp_path: Path) -> None:
    file = tmp_path / "limits.json"
    file.write_text(json.dumps(LIMITS))
    await limits("set", "--file", str(file), *WHY)
    for arguments, code, says in (
        (("max_order_notional=1", "--until", "1h", *WHY), 1, "would be lower"),
        (("max_order_notional=99999", "--until", "25h", *WHY), 1, "24 hours at most"),
        (("max_order_notional=1", "--strategy", "No Name", *WHY), 1, "not the name of a strategy"),
        (("max_order_notional=1", "--reason", " "), 2, "for a reason"),
        (("max_order_notional=1",), 2, "reason"),
        (("max_order=1", *WHY), 2, "no limit is called max_order"),
        (("max_order_notional=1", "--file", str(file), *WHY), 2, "or --file"),
        (("max_order_notional=1", "--ticker", "AAPL", "--strategy", "momentum", *WHY), 2, "not of both"),
        (WHY, 2, "FIELD=VALUE"),
    ):
        found = await limits("set", *arguments)
        assert found[0] == code, arguments
        assert says in found[1]["error"]["message"], found
    assert (await limits("clear", *WHY))[0] == 2
    assert len((await limits("history", "--all"))[1]) == 1


async def test_limits_that_lack_one_are_completed_by_name(
    limits: Command, database: str, tmp_path: Path
) -> None:
    file = tmp_path / "limits.json"
    file.write_text(json.dumps(LIMITS))
    await limits("set", "--file", str(file), *WHY)
    connection = await asyncpg.connect(database)
    await connection.execute("update limits set document = document - 'max_drawdown_pct'")
    await connection.close()
    code, told = await limits("show")
    assert (code, told["error"]["message"]) == (
        1, "the limits in force are not whole: max_drawdown_pct: Field required",
    )  # fmt: skip
    code, told = await limits("set", "max_open_orders=5", *WHY)
    assert (code, told["error"]["message"]) == (2, "max_drawdown_pct: Field required")
    code, told = await limits("set", "max_drawdown_pct=10", *WHY)
    assert (code, told["changes"]) == (
        0, [{"field": "max_drawdown_pct", "before": "not given", "after": "10", "wider": False}],
    )  # fmt: skip
    assert (await limits("show"))[1]["version"] == 2
    assert len((await limits("history"))[1]) == 2
