"""What people do, on the whole product: real workers, real workflows, and the exchange's ledger as the judge."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from pydantic import SecretStr

from console.web.deps import GatewayDoor
from security.grants import GrantKey
from storage.signals import save_token
from storage.switches import read_state, save_operator_key
from tests.servers.stack import Stack, signal
from tests.web.acting import Staff, staff
from tests.web.browser import Web
from tests.web.conftest import console_on

SIGNED_IN_BEFORE = timedelta(minutes=6)
"""Coming in takes each person two codes, and a code half a minute."""
CODE = "x-error-code"


async def at_work(stack: Stack, web: Web) -> Staff:
    """Everybody at the stack's console, which holds a grant key and a token of its own, at this moment."""
    key, token = GrantKey.from_hex(secrets.token_hex(32), "console"), secrets.token_hex(32)
    now = datetime.now(UTC)
    web.clock[0] = now - SIGNED_IN_BEFORE
    async with web.owner.transaction("test") as connection:
        await save_token(connection, name="console", strategy=None, secret=token, now=now)
        await save_operator_key(
            connection, key_id=key.key_id, public_key=key.public_key, person="console", now=now
        )
    door = GatewayDoor(f"http://127.0.0.1:{stack.settings.gateway_port}", SecretStr(token))
    people = await staff(web, client=stack.client, grant_key=key, gateway=door)
    people.web.clock[0] = datetime.now(UTC)
    return people


async def engaged(web: Web) -> tuple[bool, int]:
    async with web.owner.connection() as connection:
        state = await read_state(connection)
    return state.engaged, state.epoch


async def test_cancel_close_reconcile_stop_and_release(stack: Stack, unique: Callable[[str], str]) -> None:
    async with console_on(stack.dsn) as web:
        people = await at_work(stack, web)
        await cancels_an_order(stack, people, unique("web"))
        await closes_a_position(stack, people, unique("web"))
        assert (await people.viewer.post("/acts/reconcile", {})).headers[CODE] == "ROLE_TOO_LOW"
        assert "CLEAN" in (await people.operator.post("/acts/reconcile", {})).text
        await stops_and_releases(people)


async def cancels_an_order(stack: Stack, people: Staff, resting: str) -> None:
    await stack.submit(signal(resting, order_type="LIMIT", limit_price="100.00"))
    await stack.until(resting, lambda order: order["status"] == "ACKNOWLEDGED")
    path = f"/acts/orders/{resting}/cancel"
    assert resting in (await people.operator.get(path)).text
    assert (await people.viewer.post(path, {})).headers[CODE] == "ROLE_TOO_LOW"
    answer = await people.operator.post(path, {"reason": "not today"})
    assert "REQUESTED" in answer.text
    assert (await stack.settled(resting))["status"] == "CANCELED"
    assert "TOO_LATE" in (await people.operator.post(path, {})).text
    assert ("CANCEL_ASKED", "operator") in await people.told("CANCEL_ASKED", "CANCEL_REQUESTED")


async def closes_a_position(stack: Stack, people: Staff, bought: str) -> None:
    await stack.submit(signal(bought))
    assert (await stack.settled(bought))["status"] == "FILLED"
    posts = (await stack.ledger())["posts_total"]
    form = {"ticker": "AAPL", "reason": "enough", "act_id": str(uuid4())}
    assert (await people.operator.post("/acts/close", form)).headers[CODE] == "ROLE_TOO_LOW"
    for said in ("risk decides next", "the same signal"):
        assert said in (await people.risk.post("/acts/close", form)).text
    async with people.web.owner.connection() as connection:
        closes = [
            row["signal_id"] for row in await connection.fetch("select signal_id from closing_requests")
        ]
        strategy = await connection.fetchval("select strategy from signals where signal_id = $1", closes[0])
        author = await connection.fetchval(
            "select document->>'rationale' from signals where signal_id = $1", closes[0]
        )
    assert (len(closes), strategy) == (1, "momentum")
    assert "risk" in author
    assert people.web.deps.gateway is not None
    stack.http.headers["Authorization"] = f"Bearer {people.web.deps.gateway.token.get_secret_value()}"
    assert (await stack.settled(closes[0]))["status"] == "FILLED"
    assert (await stack.ledger())["posts_total"] == posts + 1, "sent twice, sold once"
    assert await people.told("CLOSE_ASKED") == [("CLOSE_ASKED", "risk")]
    gone = await people.risk.post("/acts/close", form | {"act_id": str(uuid4())})
    assert gone.status_code == 409, "nothing is held"


async def stops_and_releases(people: Staff) -> None:
    killed = await people.operator.post("/acts/kill", {"reason": "drill", "request_id": str(uuid4())})
    assert killed.headers["location"] == "/acts/kill/progress"
    assert await engaged(people.web) == (True, 1)
    wish = {"reason": "all checked", "epoch": "1"}
    for browser in (people.viewer, people.operator, people.risk):
        assert (await browser.post("/acts/release", wish)).headers[CODE] == "ROLE_TOO_LOW"
    assert (await people.admin.post("/acts/release", wish | {"epoch": "0"})).status_code == 409
    people.web.clock[0] = datetime.now(UTC) + timedelta(minutes=6)
    assert (await people.admin.post("/acts/release", wish)).headers[CODE] == "STEP_UP_REQUIRED"
    people.web.clock[0] = datetime.now(UTC)
    stranger = GrantKey.from_hex(secrets.token_hex(32), "mallory")
    people.web.app.state.deps = replace(people.web.deps, grant_key=stranger)
    forged = await people.admin.post("/acts/release", wish)
    assert (forged.status_code, stranger.key_id in forged.text) == (409, True)
    assert await engaged(people.web) == (True, 1)
    people.web.app.state.deps = people.web.deps
    released = await people.admin.post("/acts/release", wish)
    assert (released.status_code, "Released" in released.text) == (200, True), released.text
    assert await engaged(people.web) == (False, 2)
    assert (await people.admin.post("/acts/release", wish)).status_code == 303, "again is harmless"
    told = await people.told("KILL_ENGAGED", "RELEASE_REFUSED", "KILL_RELEASED")
    assert told == [("KILL_ENGAGED", "operator"), ("RELEASE_REFUSED", "admin"), ("KILL_RELEASED", "admin")]
