"""Every view, of an installation that has traded and of an empty one; what strangers wrote, shown safely."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from audit.check.outside import Folder
from schemas.people import Role
from storage.database import Database
from tests.servers.postgres import CopyDatabase, fresh
from tests.web import trades
from tests.web.browser import Browser, Web
from tests.web.conftest import console_on
from workers import postgres

if TYPE_CHECKING:
    import asyncpg

VIEWS: Final = (
    "/", "/orders", "/orders?state=open", "/signals", "/positions", "/reconciliation", "/controls", "/alerts",
    "/audit",
)  # fmt: skip
CHARTS: Final = ("equity", "exposure", "latency", "rejections", "drift")


@pytest.fixture
async def viewer(web: Web) -> Browser:
    """Give somebody who may look at everything."""
    return await web.person("vi", Role.VIEWER)


@pytest.fixture(scope="module")
async def traded_rows(
    postgres_server: postgres.Server, _admin: "asyncpg.Connection[Any]", _migrated_template: str
) -> AsyncIterator[str]:
    """Give a database to copy: nobody is connected to it."""
    async for dsn in fresh(postgres_server, _admin, _migrated_template):
        await trades.trade(dsn)
        yield dsn


@pytest.fixture
async def traded(traded_rows: str, copy_database: CopyDatabase) -> AsyncIterator[Browser]:
    """Give the same, on rows of an installation that has traded."""
    async with copy_database(traded_rows) as dsn, console_on(dsn) as web:
        yield await web.person("vi", Role.VIEWER)


class Page(HTMLParser):
    """What must hold of a page for somebody who does not see it, or has no mouse."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def faults(self) -> list[str]:
        found = []
        if self.all("html")[0].get("lang") != "en":
            found.append("no language")
        if len(self.all("h1")) != 1:
            found.append(f"{len(self.all('h1'))} h1")
        levels = [int(tag[1]) for tag, _ in self.tags if re.fullmatch("h[1-6]", tag)]
        found += [f"h{low} after h{high}" for high, low in pairwise(levels) if low > high + 1]
        labelled = {each.get("for") for each in self.all("label")}
        for tag, attributes in self.tags:
            named = attributes.get("id") in labelled or "aria-label" in attributes
            if tag in ("input", "select", "textarea") and attributes.get("type") != "hidden" and not named:
                found.append(f"{tag} {attributes.get('name')} has no label")
            if tag == "svg" and "aria-label" not in attributes and "aria-hidden" not in attributes:
                found.append("svg without a name")
            if "style" in attributes or tag == "style":
                found.append(f"{tag} with a style of its own")
            found += [f"{tag} with {name}" for name in attributes if name.startswith("on") or name == "hx-on"]
        ids = [attributes["id"] for _, attributes in self.tags if attributes.get("id")]
        found += [f"id {each} twice" for each in set(ids) if ids.count(each) > 1]
        found += [f"aria-labelledby {each}" for each in self._named_by() if each not in ids]
        found += ["script without src" for each in self.all("script") if "src" not in each]
        if not any(each.get("class") == "skip" for each in self.all("a")):
            found.append("no skip link")
        return found

    def _named_by(self) -> list[str]:
        return [
            str(attributes["aria-labelledby"])
            for _, attributes in self.tags
            if "aria-labelledby" in attributes
        ]


async def page_of(browser: Browser, path: str) -> tuple[Page, str]:
    answer = await browser.get(path)
    assert answer.status_code == 200, f"{path}: {answer.text[:400]}"
    return Page(answer.text), answer.text


async def test_every_view_of_an_empty_installation_says_what_is_not_there(viewer: Browser) -> None:
    for path in (*VIEWS, "/access"):
        page, text = await page_of(viewer, path)
        assert page.faults() == [], path
        assert "<main" in text
    for name in CHARTS:
        answer = await viewer.get(f"/live/charts/{name}")
        assert answer.status_code == 200, name
        assert answer.json()["x"] == [], name


async def test_every_view_of_an_installation_that_has_traded(traded: Browser) -> None:
    for path in (*VIEWS, "/orders/s1", "/orders/hostile", "/orders/too-big", "/audit?correlation_id=s1"):
        page, _ = await page_of(traded, path)
        assert page.faults() == [], path
        # A page that is open fetches its part from the twin of its address.
        twin, _ = await page_of(traded, f"/live{path}" if path != "/" else "/live/")
        assert [each.get("hx-get") for each in twin.all("div")] == [
            each.get("hx-get") for each in page.all("div")
        ]
    charts = {name: (await traded.get(f"/live/charts/{name}")).json() for name in CHARTS}
    assert [each["label"] for each in charts["equity"]["series"]] == ["equity", "session start"]
    assert charts["equity"]["series"][0]["values"] == ["100000"]
    assert charts["exposure"]["names"][0] == "account"
    assert len(charts["latency"]["x"]) == 1
    assert sum(int(each) for each in charts["rejections"]["series"][1]["values"]) == 1
    assert "0.695" in charts["drift"]["series"][0]["values"]


async def test_the_blotter_filters_and_pages(traded: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    _, text = await page_of(traded, "/orders")
    assert all(signal in text for signal in ("s1", "too-big", "hostile", "waiting"))
    for question, found in (
        ("state=FILLED", {"s1"}), ("state=REJECTED", {"too-big"}), ("ticker=msft", {"waiting"}),
        ("strategy=chatty", {"hostile"}), ("text=too-", {"too-big"}), ("text=notional", {"too-big"}),
        ("state=open", {"hostile", "waiting"}), ("state=unknown", set()),
    ):  # fmt: skip
        _, text = await page_of(traded, f"/orders?{question}")
        links = set(re.findall(r'<a href="/orders/[0-9a-f-]{36}">([^<]+)</a>', text))
        assert links == found, question
    monkeypatch.setattr("console.web.pages.orders.PAGE", 3)
    page, _ = await page_of(traded, "/orders")
    older = next(each["href"] for each in page.all("a") if each.get("rel") == "next")
    _, text = await page_of(traded, str(older))
    assert re.findall(r'<a href="/orders/[0-9a-f-]{36}">([^<]+)</a>', text) == ["s1"]
    assert "Newest" in text
    for wrong in ("state=NONSENSE", "before=nonsense", "before=WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsIngiXQ"):
        assert (await traded.get(f"/orders?{wrong}")).status_code == 422


async def test_an_order_leads_to_its_trace(traded_rows: str, copy_database: CopyDatabase) -> None:
    """How: no link before the signal's row names one, and none where nobody said where traces are read."""
    trace, where = "0af7651916cd43dd8448eb211c80319c", "https://tempo.test/{trace_id}"
    named = f"update signals set traceparent = '00-{trace}-b7ad6b7169203331-01' where signal_id = 's1'"
    async with copy_database(traded_rows) as dsn, console_on(dsn) as web:
        viewer, told = await web.person("vi", Role.VIEWER), []
        for template, act in ((where, "select 1"), (where, named), (None, "select 1")):
            web.app.state.deps = replace(web.deps, settings=replace(web.deps.settings, trace_url=template))
            async with web.owner.transaction("test") as connection:
                await connection.execute(act)
            page, _ = await page_of(viewer, "/orders/s1")
            told.append([each["href"] for each in page.all("a") if trace in (each["href"] or "")])
    assert told == [[], [f"https://tempo.test/{trace}"], []]


async def test_an_order_is_told_from_signal_to_fill(traded: Browser) -> None:
    _, text = await page_of(traded, "/orders/s1")
    for told in (
        "signal accepted", "approved", "submitting", "broker fill", "settled filled", "checks, all passed",
        "order notional", "Why it ended", "data-copy=", "-0.8 bp against the middle then, 100.00",
    ):  # fmt: skip
        assert told in text, told
    _, text = await page_of(traded, "/orders/too-big")
    assert "ORDER_NOTIONAL" in text
    assert "not passed" in text
    _, by_id = await page_of(traded, "/orders?state=REJECTED")
    internal = re.findall(r'href="(/orders/[0-9a-f-]{36})"', by_id)[0]
    assert (await traded.get(internal)).status_code == 200
    assert (await traded.get("/orders/nobody")).status_code == 404
    assert (await traded.get("/orders/%00")).status_code == 404


async def test_what_a_strategy_wrote_is_text_of_the_strategys(traded: Browser) -> None:
    page, text = await page_of(traded, "/orders/hostile")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{ 7*7 }}" in text, "nobody computes it"
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\u3164\x00-\x08\x0b-\x1f\x7f]", text)
    for name in ("U+202E", "U+2066", "U+0007", "U+200B", "U+3164", "U+0303"):
        assert f">{name}</span>" in text
    assert "Written by chatty, not by us" in text
    assert not [each for each in page.all("a") if (each.get("href") or "").startswith("javascript")]
    for path in ("/audit?correlation_id=hostile", "/signals", "/live/orders/hostile"):
        _, other = await page_of(traded, path)
        assert "\u202e" not in other
        assert "<script>alert" not in other


async def test_the_other_views_show_what_there_is(traded: Browser) -> None:
    told = {
        "/": (
            "▲ ORDERS WAIT",
            "Temporal: not connected",
            "outcome unknown",
            "update stream connected",
            "$100,000.00",
            "PAPER",
        ),
        "/signals?window=1h": ("order notional", "momentum", "25.0 %"),
        "/positions": ("AAPL", "TSLA", "agree", "moved since", "ticker AAPL"),
        "/reconciliation": ("TSLA", "residual", "drift", "BOOKS AGREE"),
        "/controls": ("RELEASED", "never engaged"),
        "/alerts": ("OUTCOME_UNKNOWN in words", "slack: raised", "INSUFFICIENT_FUNDS in words"),
    }
    async with traded.web.deps.database.connection() as connection:
        # Else what was heard of when the rows were made would be old.
        traded.web.clock[0] = await connection.fetchval("select last_seen_at from trade_stream")
    for path, words in told.items():
        _, text = await page_of(traded, path)
        for word in words:
            assert word in text, f"{path}: {word}; {re.findall('state-strip.*?</div>', text, re.S)}"
    await trades.kill(traded.web.deps.dsn, reason="loss \u202egnihton")
    for path in ("/", "/orders", "/controls"):
        _, text = await page_of(traded, path)
        assert "HALTED" in text or "ENGAGED" in text
        assert "by operator jo: loss ⟨U+202E⟩gnihton" in text


async def test_a_row_is_proved_in_the_page(traded: Browser, tmp_path: Path) -> None:
    _, listed = await page_of(traded, "/audit?correlation_id=s1&decision=approved")
    number = re.findall(r'href="/audit/(\d+)"', listed)[0]
    _, text = await page_of(traded, f"/audit/{number}?prove=true")
    assert "not proved" in text
    assert "not told where the checkpoints are" in text
    web = traded.web
    web.app.state.deps = replace(web.deps, outside=Folder(tmp_path))
    await trades.seal(web.deps.dsn, tmp_path)
    page, text = await page_of(traded, f"/audit/{number}?prove=true")
    assert page.faults() == []
    assert ">proved<" in text
    assert "hash is right" in text
    assert "log-of-a-test" in text
    proof = await traded.get(f"/audit/{number}/proof.txt")
    assert "c2sp.org/tlog-proof@v1" in proof.text
    assert proof.headers["content-disposition"].startswith("attachment")
    story = (await traded.get("/audit/story/s1/proof.txt")).text
    assert story.count("c2sp.org/tlog-proof@v1") > 5
    rows: list[dict[str, Any]] = (await traded.get("/audit/story/s1/rows.json")).json()
    assert rows[0]["decision"] == "SIGNAL_ACCEPTED"
    assert (await traded.get("/audit/999999")).status_code == 404
    assert (await traded.get("/audit/story/nobody/proof.txt")).status_code == 404
    (tmp_path / "key").write_text("log-of-a-test+00000000+AAAA")
    _, text = await page_of(traded, f"/audit/{number}?prove=true")
    assert "not proved" in text


async def test_a_page_takes_few_statements_however_much_it_shows(
    traded: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    original = Database.connection

    @asynccontextmanager
    async def counted(self: Database) -> AsyncIterator[Any]:
        async with original(self) as connection, asyncpg_logger(connection, asked):
            yield connection

    monkeypatch.setattr(Database, "connection", counted)
    counts = {}
    for path in ("/", "/orders", "/signals", "/positions", "/alerts", "/orders/s1"):
        asked.clear()
        assert (await traded.get(path)).status_code == 200
        counts[path] = len(asked)
    assert counts["/orders"] <= 6, counts
    assert max(counts.values()) <= 25, counts


@asynccontextmanager
async def asyncpg_logger(connection: Any, asked: list[str]) -> AsyncIterator[None]:
    def note(record: Any) -> None:
        asked.append(record.query)

    connection.add_query_logger(note)
    yield
    connection.remove_query_logger(note)
