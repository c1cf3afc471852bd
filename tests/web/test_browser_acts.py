"""People at work in real Chromium, on the whole product: what they do is judged by the exchange's ledger."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyotp
import pytest

from audit.check.notes import VerifierKey
from audit.check.proofs import check_proof
from schemas.people import Role
from tests.servers.exchange import exchanges
from tests.servers.postgres import fresh
from tests.servers.session import Servers
from tests.servers.stack import products, signal
from tests.web.browser import PASSWORD
from tests.web.chromium import Seat, running, shown_secret
from tests.web.house import House, approval_sealed, house
from workers import postgres, temporal

if TYPE_CHECKING:
    import asyncpg

pytestmark = pytest.mark.timeout(300)

Unique = Callable[[str], str]

STEP: Final = timedelta(seconds=30)
"""Between two codes of a generator."""
VIEWS: Final = frozenset({
    "/", "/orders", "/signals", "/positions", "/reconciliation", "/controls", "/alerts", "/audit", "/acts",
    "/access", "/settings",
})  # fmt: skip


@pytest.fixture(scope="module")
async def here(
    servers: Servers,
    postgres_server: postgres.Server,
    _admin: "asyncpg.Connection",
    _migrated_template: str,
    temporal_addresses: temporal.Server,
) -> AsyncIterator[House]:
    """Give the one house of this file."""
    async for dsn in fresh(postgres_server, _admin, _migrated_template):
        async with AsyncExitStack() as opened:
            chromium = await opened.enter_async_context(running())
            start_exchange = await opened.enter_async_context(exchanges(servers))
            start = await opened.enter_async_context(products(dsn, temporal_addresses, start_exchange))
            yield await opened.enter_async_context(house(await start(), chromium))


@pytest.mark.slow
async def test_a_code_signs_in_once_and_whoever_repeats_it_is_refused(here: House) -> None:
    link = await here.web.link("cora", Role.VIEWER)
    async with here.sit() as own, here.sit() as thief:
        await own.go(link)
        await own.fill(password=PASSWORD, again=PASSWORD)
        await own.press("Go on")
        await own.press("Set up a code generator")
        await own.page.get_by_alt_text("QR code").wait_for()
        generator = pyotp.TOTP(shown_secret(await own.text()))
        await own.page.get_by_label("Code").fill(generator.at(here.web.clock[0]))
        await own.press("Go on")
        await own.press("Sign out")

        await own.go("/login?next=/orders")
        await own.gives_password("cora")
        await own.page.get_by_label("Code of your generator").wait_for()
        assert await own.page.get_by_role("button", name="Use a passkey").count() == 0, "there is none"
        here.web.later(STEP)
        code = generator.at(here.web.clock[0])
        await own.shows_code(code)
        await own.page.get_by_role("heading", name="Orders").wait_for()

        await thief.go("/login")
        await thief.gives_password("cora")
        await thief.shows_code(code)
        await thief.was_told_no(401, "/login/second/code")
        assert "That did not let you in" in await thief.text()
        await thief.go("/orders")
        await thief.page.get_by_role("heading", name="Second factor").wait_for()
        here.web.later(STEP)
        await thief.shows_code(generator.at(here.web.clock[0]))
        await thief.page.locator("#liveness").wait_for()
    tries = await here.told("TOTP_ENROLLED", "SIGNED_IN", "SIGN_IN_FAILED")
    assert [word for word, actor in tries if actor == "cora"] == [
        "TOTP_ENROLLED", "SIGNED_IN", "SIGNED_IN", "SIGN_IN_FAILED", "SIGNED_IN",
    ]  # fmt: skip


@pytest.mark.slow
async def test_risk_kills_every_view_says_so_and_an_admin_releases(here: House, unique: Unique) -> None:
    admin, risk = await here.worker("ada", Role.ADMIN), await here.worker("rita", Role.RISK)
    resting, refused, after = unique("resting"), unique("refused"), unique("after")
    client_order_id = await here.rests(resting)
    async with here.sit(admin) as ada, here.sit(risk) as rita:
        await ada.go("/positions")
        await ada.page.locator("#liveness[data-state=live]").wait_for()
        await rita.go("/controls")
        await rita.follow("Stop everything")
        await rita.fill(reason="prices of yesterday")
        await rita.press("Engage the kill switch")
        await rita.sees("every cancel is confirmed")
        await rita.sees("no new order can leave")
        assert (await here.at_exchange(client_order_id))["status"] == "canceled"
        await ada.sees("HALTED", within="#banners")
        posts = (await here.stack.ledger())["posts_total"]
        await here.stack.submit(signal(refused))
        await here.stack.settled(refused)
        assert (await here.stack.ledger())["posts_total"] == posts, "nothing has left"
        await every_view_is_halted(ada)
        await ada.go(f"/orders/{refused}")
        await ada.sees("KILL_SWITCH", within=".state-strip")

        await ada.page.locator("#banners a").click()
        await ada.follow("Release")
        await ada.fill(reason="the feed is right again")
        await ada.press("Release, with my second factor")
        await ada.steps_up("/acts/release")
        assert await ada.page.locator("[name=reason]").input_value() == "the feed is right again"
        assert await ada.page.locator("#banners .banner-bad").count() == 1, (
            "the factor alone releases nothing"
        )
        assert await here.releases() == []
        await ada.press("Release, with my second factor")
        await ada.page.get_by_role("heading", name="Released").wait_for()
        assert await ada.page.locator("#banners .banner-bad").count() == 0
        await ada.follow("Go on")
        await ada.page.wait_for_url("**/acts/kill/progress")
        for seat in (ada, rita):
            await seat.sees("RELEASED, epoch 2")
            await seat.page.locator("#banners .banner-bad").wait_for(state="detached")
        await here.stack.submit(signal(after))
        assert (await here.stack.settled(after))["status"] == "FILLED"
    assert (await here.stack.ledger())["posts_total"] == posts + 1
    assert await here.releases() == [("ada", here.key.key_id)], "by a grant that the console signed"
    assert await here.told("KILL_ENGAGED", "KILL_RELEASED") == [
        ("KILL_ENGAGED", "rita"),
        ("KILL_RELEASED", "ada"),
    ]


async def every_view_is_halted(seat: Seat) -> None:
    """By the navigation, as a person goes; the word, the reason and who has done it."""
    links = seat.page.locator("nav.rail a")
    paths = {await each.get_attribute("href") for each in await links.all()}
    assert paths == VIEWS
    for path in sorted(VIEWS):
        await seat.go(path)
        said = await seat.page.locator("#banners .banner-bad").inner_text()
        assert "HALTED" in said, path
        assert "by rita: prices of yesterday" in said, path


@pytest.mark.slow
async def test_an_order_is_cancelled_from_its_page_and_told_honestly(here: House, unique: Unique) -> None:
    operator = await here.worker("olga", Role.OPERATOR)
    cancelled, late = unique("cancelled"), unique("late")
    client_order_id, client_order_id_late = await here.rests(cancelled), await here.rests(late, "394")
    async with here.sit(operator) as olga:
        await olga.go(f"/orders/{cancelled}")
        await olga.follow("Cancel")
        await olga.fill(reason="not today")
        await olga.press("Cancel the order")
        await olga.sees("REQUESTED")
        await olga.follow("Go on")
        await olga.sees("cancel asked for by olga", within=".state-strip")
        await olga.sees("canceled", within=".head")
        at_exchange = await here.at_exchange(client_order_id)
        assert (at_exchange["status"], at_exchange["filled_qty"]) == ("canceled", "0")

        await olga.go(f"/orders/{late}")
        await olga.follow("Cancel")
        await olga.page.get_by_role("button", name="Cancel the order").wait_for()
        await here.quote("394")
        await here.stack.settled(late)
        await olga.press("Cancel the order")
        await olga.sees("TOO_LATE: it ended as FILLED, filled 10 of 10")
        assert (await here.at_exchange(client_order_id_late))["status"] == "filled"
        await here.quote("400.10")
        await cancels_all(here, olga, [unique("one"), unique("two")])
    assert (await here.told("CANCEL_ASKED")).count(("CANCEL_ASKED", "olga")) == 3, (
        "what had ended was not asked for"
    )


async def cancels_all(here: House, olga: Seat, signals: list[str]) -> None:
    """From the blotter, of one ticker."""
    ids = [await here.rests(each, str(393 - number)) for number, each in enumerate(signals)]
    await olga.go("/orders")
    await olga.page.get_by_label("Ticker").fill("msft")
    await olga.press("Find")
    await olga.follow("Cancel all open of MSFT")
    await olga.press("Cancel 2 orders")
    await olga.page.get_by_role("heading", name="Cancel of all of MSFT").wait_for()
    for each in signals:
        await olga.sees(f"{each}: REQUESTED")
        assert (await here.stack.settled(each))["status"] == "CANCELED"
    assert {(await here.at_exchange(each))["status"] for each in ids} == {"canceled"}


@pytest.mark.slow
async def test_an_open_page_follows_its_order_without_being_loaded_again(here: House, unique: Unique) -> None:
    viewer, followed = await here.worker("vera", Role.VIEWER), unique("followed")
    client_order_id = await here.rests(followed)
    async with here.sit(viewer) as vera:
        await vera.go(f"/orders/{followed}")
        await vera.page.locator("#liveness[data-state=live]").wait_for()
        await vera.sees("acknowledged", within=".head")
        await vera.page.evaluate(HEAR)
        assert await vera.page.get_by_role("link", name="Cancel").count() == 0, "who may only look"
        await here.quote("395", size=4)
        await vera.sees("partially filled", within=".head")
        await vera.sees("4 of 10", within=".tile")
        await here.quote("394.50")
        await vera.sees("10 of 10", within=".tile")
        await vera.page.locator(".head .chip", has_text=re.compile("^filled$", re.I)).wait_for()
        heard = await vera.page.evaluate("window.heard")
        assert heard is not None, "the page was loaded again"
        assert "refresh" in heard[heard.index("news") :], heard
    at_exchange = await here.at_exchange(client_order_id)
    assert (at_exchange["status"], at_exchange["filled_qty"]) == ("filled", "10")
    await here.quote("400.10")


HEAR: Final = """() => {
  window.heard = [];
  document.getElementById("live").addEventListener("news", () => window.heard.push("news"));
  document.body.addEventListener("console:refresh", () => window.heard.push("refresh"));
}"""
"""What the page is told from now on, and when it fetches its part; gone with the page."""


@pytest.mark.slow
async def test_a_row_is_found_and_proved_and_a_forged_one_is_named(here: House, unique: Unique) -> None:
    operator, audited = await here.worker("otto", Role.OPERATOR), unique("audited")
    await here.stack.submit(signal(audited))
    await here.stack.settled(audited)
    async with here.web.owner.connection() as connection:
        row_id = await approval_sealed(connection, audited)
    async with here.sit(operator) as otto:
        await otto.go("/audit")
        await otto.page.get_by_label("Story").fill(audited)
        await otto.press("Find")
        await (
            otto.page.locator("tr", has_text=re.compile("approved", re.I))
            .get_by_role("link", name=str(row_id))
            .click()
        )
        await otto.follow("Prove this row")
        await otto.page.locator("#proof-h ~ .chip", has_text=re.compile("^proved$", re.I)).wait_for()
        async with otto.page.expect_download() as coming:
            await otto.follow("Proof as a file")
        key = VerifierKey.parse((Path(here.stack.settings.audit_target) / "key").read_text())
        [proved] = check_proof((await (await coming.value).path()).read_text(), key)
        assert (proved.fields["id"], proved.fields["decision"]) == (row_id, "APPROVED")
        assert await checked(otto) == "It is what was sealed"

        await forge(here, row_id, "REJECTED", was="APPROVED")
        await otto.go(f"/audit/{row_id}")
        await otto.follow("Prove this row")
        await otto.sees(f"row {row_id} cannot be proved", within=".error")
        assert await checked(otto) == "NOT AS IT WAS SEALED"
        await otto.sees("EDITED", within="[role=status]")
        await otto.follow(f"row {row_id}")
        await otto.page.wait_for_url(f"**/audit/{row_id}")
        await forge(here, row_id, "APPROVED", was="REJECTED")
        assert await checked(otto) == "It is what was sealed"


async def checked(seat: Seat) -> str:
    """The word of a check of the newest rows, made in the page."""
    await seat.go("/audit")
    await seat.follow("Check it now")
    await seat.press("Check now")
    return (await seat.page.locator("main [role=status] strong").first.inner_text()).lstrip("✓✕ ")


async def forge(here: House, row_id: int, decision: str, *, was: str) -> None:
    """As somebody does it who owns the database."""
    async with here.web.owner.transaction("test") as connection:
        await connection.execute("set local session_replication_role = replica")
        done = await connection.execute(
            "update audit_log set decision = $2 where id = $1 and decision = $3", row_id, decision, was
        )
    assert done == "UPDATE 1"
