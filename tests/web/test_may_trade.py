"""Home's one line: it says that orders may leave only where nothing that it knows of holds them."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from console.web.lights import Kind, Light
from console.web.live_state import why_not_live
from console.web.pages import home
from schemas.live import GrantPerson, LiveGrant
from schemas.mode import Mode
from schemas.people import Role
from storage.live import GrantRow, StoredConfiguration
from tests.web.browser import Web
from tests.web.test_acts_doors import configuration

NOW = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)


def granted(
    release: str = "1", *, until: datetime = NOW + timedelta(hours=1), revoked: bool = False
) -> GrantRow:
    person = GrantPerson(person_id=uuid4(), name="jo", role="admin", mfa_at=NOW, said_at=NOW)
    found = configuration(release)
    grant = LiveGrant(
        grant_id=uuid4(), installation=found.installation, account=found.account, configuration_hash=found.hash,
        asked=person, agreed=person, reason="the pilot", given_at=NOW - timedelta(hours=1), expires_at=until,
    )  # fmt: skip
    return GrantRow(
        grant=grant, revoked_at=NOW if revoked else None, revoked_by="sam" if revoked else None,
        revoke_reason="enough" if revoked else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("newest", "said"),
    [
        (None, "nobody"), (granted(until=NOW - timedelta(seconds=1)), "expired"),
        (granted(revoked=True), "taken back by sam: enough"), (granted("2"), "another configuration"),
        (granted(), None),
    ],
)  # fmt: skip
def test_the_newest_grant_alone_counts_and_only_for_what_execution_runs_with(
    newest: GrantRow | None, said: str | None
) -> None:
    stored = StoredConfiguration(
        configuration=configuration(), mode=Mode.LIVE, permitted=True, reasons=(), written_at=NOW
    )
    found = why_not_live(stored, newest, NOW)
    assert (said in found) if said and found else (found is said)
    assert why_not_live(None, newest, NOW) is not None


async def test_home_says_trading_only_where_orders_may_leave(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = await web.person("vi", Role.VIEWER)
    lit: dict[str, Kind] = {}

    def lights(*_: object, **__: object) -> list[Light]:
        return [
            Light(name, lit.get(name, Kind.GOOD), f"{name} tells") for name in ("broker", "hours", "clock")
        ]

    class Answers:
        async def light(self, *_: object) -> Light:
            return Light("Temporal", lit.get("Temporal", Kind.GOOD), "Temporal tells")

    monkeypatch.setattr(home, "lights", lights)
    monkeypatch.setattr(home, "_temporal", Answers())
    monkeypatch.setattr(home, "waits_for", lambda *_: None)
    assert "✓ TRADING" in (await viewer.get("/")).text
    for name in ("broker", "hours", "clock", "Temporal"):
        lit.clear()
        lit[name] = Kind.BAD
        page = (await viewer.get("/")).text
        assert "✓ TRADING" not in page, name
        assert f"{name}: {name} tells" in page
    lit.clear()
    async with web.owner.transaction("test") as connection:
        await connection.execute("alter table installation disable trigger all")
        await connection.execute("update installation set mode = 'live', account = 'LIVE1'")
    page = (await viewer.get("/")).text
    assert "✓ TRADING" not in page
    assert "nobody has granted live trading" in page
