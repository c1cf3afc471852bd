"""The operator console never fails, whatever an Admin's browser sends, and answers as its document says."""

import asyncio
import os
from typing import Final
from urllib.parse import urlsplit

import pytest
from temporalio.client import Client

from gateway.server import listening
from schemas.people import Role
from tests.fuzz.documents import STATUSES, fuzz
from tests.web.browser import COOKIE, ORIGIN, SAME_ORIGIN
from tests.web.conftest import console_on

MANY: Final = int(os.environ.get("FUZZ_EXAMPLES", "500"))
ENDS_THE_SESSION: Final = ("/login", "/logout", "/welcome", "/enrol", "/access/session")
"""Sent by somebody without one."""
NEEDS_A_WORKER: Final = ("/acts/reconcile",)
"""It takes nothing in, and says 503 where no worker runs, as here."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_nothing_that_a_browser_sends_makes_the_console_fail(
    database: str, temporal_server: Client
) -> None:
    async with console_on(database, temporal_server) as web:
        admin = await web.person("anna", Role.ADMIN)
        await admin.step_up()
        stranger = SAME_ORIGIN | {"Host": urlsplit(ORIGIN).netloc}
        signed_in = stranger | {"Cookie": f"{COOKIE}={admin.cookie}"}
        async with listening(web.app) as port:
            url, document = f"http://127.0.0.1:{port}", web.app.openapi()
            seen = await asyncio.to_thread(
                fuzz, url, document, signed_in, examples=MANY, checks=STATUSES,
                without=ENDS_THE_SESSION + NEEDS_A_WORKER,
            )  # fmt: skip
            assert (await admin.get("/")).status_code == 200, "the session lasted, and counted"
            print(sorted(seen.items()))
            seen += await asyncio.to_thread(fuzz, url, document, stranger, examples=MANY, checks=STATUSES)
    assert len({each.rpartition(" ")[0] for each in seen}) > 60
    assert seen["GET /access 200"], "an Admin was let in"
