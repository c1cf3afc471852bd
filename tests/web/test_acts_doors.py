"""Tokens and live grants in the browser: an Admin with a fresh factor, another Admin, and what is shown once."""

import hashlib
import re
import secrets
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from schemas.live import KeySource, LiveConfiguration, LiveSeen
from schemas.mode import Mode
from schemas.people import Role
from security.grants import GrantKey
from security.live import LiveGrantKey
from storage.live import list_grants, read_seen, save_configuration
from storage.tokens import list_tokens
from tests.postgres.books import prepare
from tests.postgres.two_people import standing_for
from tests.web.acting import Staff, staff
from tests.web.browser import Browser, Web

CODE = "x-error-code"
SEE_OTHER, FORBIDDEN, REFUSED, WRONG = 303, 403, 409, 422
KEY = GrantKey.from_hex(secrets.token_hex(32), "console")


@pytest.fixture
async def people(web: Web) -> Staff:
    await prepare(web.owner)
    return await staff(web, grant_key=KEY)


async def test_a_token_is_made_once_by_an_admin_shown_once_and_revoked_at_once(people: Staff) -> None:
    form = {
        "name": "momo",
        "strategies": "momentum pairs",
        "tickers": "AAPL, MSFT",
        "days": "30",
        "rate": "60",
    }
    for browser in (people.viewer, people.operator, people.risk):
        assert (await browser.post("/acts/tokens", form)).headers[CODE] == "ROLE_TOO_LOW"
    people.stale()
    assert (await people.admin.post("/acts/tokens", form)).headers[CODE] == "STEP_UP_REQUIRED"
    await people.admin.step_up()
    for wrong in ({"name": "demo"}, {"name": "A B"}, {"strategies": ""}, {"tickers": "aapl"}, {"rate": "1"}):
        assert (await people.admin.post("/acts/tokens", form | wrong)).status_code == WRONG, wrong
    made = await people.admin.post("/acts/tokens", form)
    [secret] = set(re.findall(r"ti_[0-9A-Za-z]{49}", made.text))
    assert (await people.admin.post("/acts/tokens", form)).status_code == REFUSED, "a name is one token's"
    async with people.web.owner.connection() as connection:
        [token] = await list_tokens(connection, name="momo")
        stored = await connection.fetchval("select token_hash from api_tokens where name = 'momo'")
    assert (token.made_by, token.strategies, token.tickers) == (
        "admin",
        ("momentum", "pairs"),
        ("AAPL", "MSFT"),
    )
    assert stored == hashlib.sha256(secret.encode()).digest()
    for browser in (people.operator, people.admin):
        page = (await browser.get("/acts/tokens")).text
        assert ("momo" in page, secret in page) == (True, False), "never again"
    assert (await people.viewer.get("/acts/tokens")).status_code == FORBIDDEN
    gone = {"name": "momo", "reason": "lost"}
    assert (await people.viewer.post("/acts/tokens/revoke", gone)).headers[CODE] == "ROLE_TOO_LOW"
    people.stale()
    assert (await people.operator.post("/acts/tokens/revoke", gone)).status_code == SEE_OTHER, (
        "no factor to stop"
    )
    assert (await people.operator.post("/acts/tokens/revoke", gone)).status_code == REFUSED
    assert await people.told("TOKEN_MADE", "TOKEN_REVOKED") == [
        ("TOKEN_MADE", "admin"), ("TOKEN_REVOKED", "operator"),
    ]  # fmt: skip


def configuration(release: str = "1") -> LiveConfiguration:
    return LiveConfiguration(
        release=release, installation=UUID(int=7), account="LIVE1", trading_url="https://api.alpaca.markets",
        stream_url="wss://api.alpaca.markets/stream", data_url="https://data.alpaca.markets",
        data_stream_url="wss://stream.data.alpaca.markets", requests_per_minute=200, market_speed="1",
        key_source=KeySource.VAULT, approval_keys=("a",),
    )  # fmt: skip


async def runs_with(people: Staff, found: LiveConfiguration, mode: Mode = Mode.LIVE) -> None:
    async with people.web.owner.transaction("test") as connection:
        await connection.execute("alter table installation disable trigger installation_kept")
        await connection.execute("update installation set mode = $1", mode.value)
        await connection.execute("alter table installation enable trigger installation_kept")
        await save_configuration(
            connection, found, mode=mode, reasons=["nobody has granted it"], component="test",
            now=people.web.clock[0],
        )  # fmt: skip


def wish(found: LiveConfiguration, **more: str) -> dict[str, str]:
    return {
        "configuration_hash": found.hash, "approval_id": str(uuid4()), "span": "8h", "reason": "the pilot", **more,
    }  # fmt: skip


async def carry_out_form(browser: Browser) -> tuple[str, dict[str, str]]:
    page = (await browser.get("/acts/approvals")).text
    [path] = set(re.findall(r'action="(/acts/approvals/[0-9a-f-]+/carry-out)"', page))
    [shown] = set(re.findall(r'name="content_hash" value="([0-9a-f]{64})"', page))
    return path, {"content_hash": shown}


async def seen(people: Staff) -> LiveSeen:
    from schemas.live import ClockHealth

    async with people.web.owner.connection() as connection:
        return await read_seen(connection, ClockHealth(in_sync=True, age=timedelta(0)))


async def test_two_admins_grant_live_trading_and_one_person_ends_it(people: Staff) -> None:
    found = configuration()
    second = await people.web.person("second", Role.ADMIN)
    await runs_with(people, found, Mode.PAPER)
    assert (await people.admin.post("/acts/live/ask", wish(found))).status_code == REFUSED, "paper"
    await runs_with(people, found)
    for browser in (people.viewer, people.operator, people.risk):
        assert (await browser.post("/acts/live/ask", wish(found))).headers[CODE] == "ROLE_TOO_LOW"
    people.stale()
    assert (await people.admin.post("/acts/live/ask", wish(found))).headers[CODE] == "STEP_UP_REQUIRED"
    await people.admin.step_up()
    assert (await people.admin.post("/acts/live/ask", wish(found, span="25h"))).status_code == WRONG
    assert (await people.admin.post("/acts/live/ask", wish(configuration("0")))).status_code == REFUSED
    asked = wish(found)
    assert (await people.admin.post("/acts/live/ask", asked)).status_code == REFUSED, (
        "an Admin since just now"
    )
    await standing_for(people.web.owner)
    for _ in range(2):
        assert (await people.admin.post("/acts/live/ask", asked)).status_code == SEE_OTHER
    await second.step_up()
    path, form = await carry_out_form(second)
    await standing_for(people.web.owner, timedelta(hours=23), name="second")
    assert (await second.post(path, form)).status_code == REFUSED, "the other one is too new"
    await standing_for(people.web.owner)
    await people.risk.step_up()
    assert (await people.risk.post(path, form)).status_code == REFUSED, "Risk is no Admin"
    assert (await people.admin.post(path, form)).status_code == REFUSED, "not one's own"
    await runs_with(people, configuration("2"))
    assert (await second.post(path, form)).status_code == REFUSED, "another configuration by now"
    await runs_with(people, found)
    assert (await seen(people)).grant is None
    assert (await second.post(path, form)).status_code == SEE_OTHER
    signed = (await seen(people)).grant
    assert signed is not None
    grant = LiveGrantKey(KEY.public_key).read(signed)
    assert grant is not None, "signed with the console's key"
    assert (grant.asked.name, grant.agreed.name, grant.configuration_hash) == ("admin", "second", found.hash)
    assert (await second.post(path, form)).status_code == REFUSED, "used"
    async with people.web.owner.connection() as connection:
        assert len(await list_grants(connection)) == 1
    end = {"reason": "enough"}
    assert (await people.viewer.post("/acts/live/revoke", end)).headers[CODE] == "ROLE_TOO_LOW"
    people.stale()
    assert "<strong>in force</strong>" in (await people.viewer.get("/acts/live")).text
    assert (await people.operator.post("/acts/live/revoke", end)).status_code == SEE_OTHER, "at once"
    assert (await people.operator.post("/acts/live/revoke", end)).status_code == REFUSED
    after = (await seen(people)).grant
    assert after is not None
    assert after.revoked_at is not None
    assert await people.told("APPROVAL_ASKED", "LIVE_GRANTED", "APPROVAL_CARRIED_OUT", "LIVE_REVOKED") == [
        ("APPROVAL_ASKED", "admin"), ("LIVE_GRANTED", "second"), ("APPROVAL_CARRIED_OUT", "second"),
        ("LIVE_REVOKED", "operator"),
    ]  # fmt: skip
