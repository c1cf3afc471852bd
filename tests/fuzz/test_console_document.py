"""The operator console never fails, whatever an Admin's browser sends; what its pages answer is held elsewhere."""

import asyncio
import os
from typing import Final
from urllib.parse import urlsplit

import pytest

from gateway.server import listening
from schemas.people import Role
from tests.fuzz.documents import FAILURES, fuzz
from tests.web.browser import COOKIE, ORIGIN
from tests.web.conftest import console_on

MANY: Final = int(os.environ.get("FUZZ_EXAMPLES", "500"))


@pytest.mark.slow
async def test_nothing_that_an_admin_sends_makes_the_console_fail(database: str) -> None:
    async with console_on(database) as web:
        admin = await web.person("anna", Role.ADMIN)
        await admin.step_up()
        headers = {
            "Cookie": f"{COOKIE}={admin.cookie}", "Host": urlsplit(ORIGIN).netloc, "Origin": ORIGIN,
            "Sec-Fetch-Site": "same-origin",
        }  # fmt: skip
        async with listening(web.app) as port:
            url = f"http://127.0.0.1:{port}"
            seen = await asyncio.to_thread(
                fuzz, url, web.app.openapi(), headers, examples=MANY, checks=FAILURES
            )
    print(sorted(seen.items()))
    assert len({each.rpartition(" ")[0] for each in seen}) > 20
