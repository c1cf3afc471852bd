"""The codec server and the console's sessions: who is signed in reads, until the next request after he is not."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from google.protobuf.json_format import MessageToDict
from temporalio.api.common.v1 import Payload

from console.codec_audit import PayloadReads
from console.codec_server import CodecDeps, build_codec, signed_in
from schemas.people import SESSION_IDLE, Factor, Role
from security.payloads import KeyRing, PayloadKeys
from storage.database import Database
from storage.people import insert_person, set_disabled
from storage.sessions import begin_session, end_session, rotate_session

UI = "http://localhost:8233"
RING = KeyRing(PayloadKeys.parse(f"first:{'a1' * 32}"))
BODY = {"payloads": [MessageToDict(RING.seal(Payload(metadata={"encoding": b"json/plain"}, data=b"7")))]}
NOW = datetime.now(UTC)


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Database]:
    opened = await Database.connect(database)
    yield opened
    await opened.close()


async def test_who_is_signed_in_reads_and_nobody_else(rows: Database) -> None:
    deps = CodecDeps(RING, PayloadReads(rows), "trading", (signed_in(rows),), frozenset({UI}))
    transport = httpx2.ASGITransport(app=build_codec(deps))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8088") as http:

        async def asked(secret: str, *, origin: str | None = UI, cookie: str = "console") -> int:
            headers = {"Cookie": f"{cookie}={secret}"} | ({} if origin is None else {"Origin": origin})
            return (await http.post("/decode", json=BODY, headers=headers)).status_code

        async with rows.transaction("test") as connection:
            person = await insert_person(connection, "vera", Role.VIEWER, "a hash", by="test", now=NOW)
            session = await begin_session(
                connection, "password-only", person, address="127.0.0.1", agent="test", now=NOW
            )
        assert await asked("password-only") == 401, "the second factor is missing"
        async with rows.transaction("test") as connection:
            assert await rotate_session(connection, session, "both-shown", Factor.TOTP, NOW)
        assert await asked("both-shown") == 200
        assert await asked("both-shown", cookie="__Host-console") == 200
        assert await asked("password-only") == 401
        assert await asked("both-shown", origin=None) == 401, "no page asks: a browser always says which"
        assert await asked("both-shown", origin="http://localhost:9999") == 403
        assert await asked("") == 401
        async with rows.transaction("test") as connection:
            await set_disabled(connection, person, NOW)
        assert await asked("both-shown") == 401
        async with rows.transaction("test") as connection:
            await set_disabled(connection, person, None)
            await end_session(connection, session, of=None, by="test", now=NOW)
        assert await asked("both-shown") == 401
        async with rows.transaction("test") as connection:
            late = NOW - SESSION_IDLE - timedelta(minutes=1)
            old = await begin_session(connection, "idle", person, address="127.0.0.1", agent="t", now=late)
            await rotate_session(connection, old, "idle-shown", Factor.TOTP, late)
        assert await asked("idle-shown") == 401
    async with rows.connection() as connection:
        actors = await connection.fetch("select actor from audit_log where decision = 'PAYLOADS_READ'")
    assert [row["actor"] for row in actors] == ["vera", "vera"]
