"""The gateway keeps its word: no 5xx and no answer that its document does not have, whatever is sent."""

import asyncio
import dataclasses
import os
from collections import Counter
from typing import Any, Final

import pytest
from pydantic import SecretStr

from gateway.app import build_app
from gateway.server import serving
from tests.fuzz.documents import fuzz
from tests.gateway.conftest import ANY_TOKEN, Gateway, bearer, gateway_on

__all__ = ["gateway_on"]

FEW: Final = 6
MANY: Final = int(os.environ.get("FUZZ_EXAMPLES", "500"))


@pytest.fixture
async def gateway(database: str) -> Any:
    async with gateway_on(database) as found:
        yield found


async def sent(gateway: Gateway, headers: dict[str, str], *, examples: int) -> Counter[str]:
    deps = dataclasses.replace(gateway.deps, wake_secret=SecretStr("w" * 32))
    app = build_app(deps)
    async with serving(app) as port:
        url = f"http://127.0.0.1:{port}"
        return await asyncio.to_thread(fuzz, url, app.openapi(), headers, examples=examples)


@pytest.mark.parametrize("headers", [bearer(ANY_TOKEN), {}], ids=["with a token", "without"])
async def test_nothing_undocumented_comes_back(gateway: Gateway, headers: dict[str, str]) -> None:
    judge(await sent(gateway, headers, examples=FEW), signed_in=bool(headers))


def judge(seen: Counter[str], *, signed_in: bool) -> None:
    """Each operation was tried, and nobody without a token was let in."""
    assert len({each.rpartition(" ")[0] for each in seen}) == 10
    statuses = {each.rpartition(" ")[2] for each in seen if "/v1/s" in each or "/v1/o" in each}
    assert statuses >= ({"200", "404", "422"} if signed_in else {"401"})
    assert signed_in or not any(status.startswith("2") for status in statuses)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("headers", [bearer(ANY_TOKEN), {}], ids=["with a token", "without"])
async def test_nothing_undocumented_comes_back_of_many(gateway: Gateway, headers: dict[str, str]) -> None:
    seen = await sent(gateway, headers, examples=MANY)
    print(sorted(seen.items()))
    judge(seen, signed_in=bool(headers))
