"""``trading token`` and ``trading live``: a token is shown once and revoked by name; live trading is taken back."""

import json
from datetime import UTC, datetime

from schemas.signals import TimelineEntry
from security.live import sign_grant
from security.tokens import is_mistyped
from storage.database import Database
from storage.events import timeline
from storage.live import save_grant
from storage.signals import find_token
from tests.console.commands import Trading, environment
from tests.servers import live

WHY = ("--reason", "its machine was sold")


async def story(rows: Database) -> list[TimelineEntry]:
    async with rows.connection() as connection:
        return await timeline(connection, "access")


async def test_a_token_is_shown_once_and_revoked_by_name(database: str) -> None:
    rows = await Database.connect(database)
    trading = Trading(environment(TRADING_DATABASE_URL=database))
    scope = (
        "--strategy",
        "momentum",
        "--strategy",
        "carry",
        "--ticker",
        "AAPL",
        "--topic",
        "trading.execution.fill",
    )
    limits = ("--expires", "30d", "--rate", "120/min")
    done = await trading("token", "make", "m-1", *scope, *limits, "--person", "Jo Doe", "--json")
    assert done.code == 0, done.err
    secret = done.json["token"]
    assert (is_mistyped(secret), done.json["prefix"]) == (False, secret[:9])
    async with rows.connection() as connection:
        token = await find_token(connection, secret, datetime.now(UTC))
    assert token is not None
    assert (token.strategies, token.tickers) == ({"momentum", "carry"}, {"AAPL"})
    assert (token.topics, token.rate_per_minute) == ({"trading.execution.fill"}, 120)
    for shown in (await trading("token", "list"), await trading("token", "list", "--json")):
        assert "m-1" in shown.out
        assert secret not in shown.out + shown.err
    [listed] = (await trading("token", "list", "--json")).json
    assert (listed["state"], listed["made_by"][:6]) == ("valid", "Jo Doe")
    plain = await trading("token", "make", "m-2", "--strategy", "momentum")
    assert not is_mistyped(plain.out.splitlines()[0])
    for command, code in (
        (("make", "m-1", "--strategy", "x"), 1), (("make", "demo", "--strategy", "x"), 2),
        (("make", "m-3", "--strategy", "X"), 2), (("make", "m-3"), 2), (("make", "M", "--strategy", "x"), 2),
        (("make", "m-3", "--strategy", "x", "--expires", "367d"), 2),
        (("make", "m-3", "--strategy", "x", "--expires", "soon"), 2),
        (("make", "m-3", "--strategy", "x", "--rate", "6001/min"), 2),
        (("make", "m-3", "--strategy", "x", "--rate", "1/s"), 2),
        (("make", "m-3", "--strategy", "x", "--topic", "everything"), 2),
        (("revoke", "m-3", *WHY), 1), (("revoke", "m-1"), 2), (("revoke", "m-1", *WHY), 0),
        (("revoke", "m-1", *WHY), 1),
    ):  # fmt: skip
        assert (await trading("token", *command, "--json")).code == code, command
    async with rows.connection() as connection:
        assert await find_token(connection, secret, datetime.now(UTC)) is None
        everything = await connection.fetch("select payload from audit_payloads")
    assert [each.decision for each in await story(rows)] == ["TOKEN_MADE", "TOKEN_MADE", "TOKEN_REVOKED"]
    assert secret not in json.dumps([row["payload"] for row in everything])
    await rows.close()


async def test_live_trading_is_shown_and_taken_back(database: str) -> None:
    rows = await Database.connect(database)
    trading = Trading(environment(TRADING_DATABASE_URL=database))
    assert (await trading("live", "--json")).json == {
        "mode": None, "configuration_hash": None, "execution": None, "grants": [],
    }  # fmt: skip
    assert "never granted" in (await trading("live")).out
    assert (await trading("live", "revoke", *WHY)).code == 1, "there is nothing to take back"
    signed = sign_grant(live.SIGNER, live.grant(live.now(), "0" * 64))
    async with rows.transaction("test") as connection:
        await save_grant(connection, signed, component="Console", now=live.now())
    assert "person 1 and person 2" in (await trading("live")).out
    assert (await trading("live", "revoke", *WHY)).code == 0
    assert (await trading("live", "revoke", *WHY)).code == 1
    assert "revoked by operator" in (await trading("live")).out
    told = [(each.decision, each.actor.split()[0]) for each in await story(rows)]
    assert told == [("LIVE_GRANTED", "person"), ("LIVE_REVOKED", "operator")]
    await rows.close()
