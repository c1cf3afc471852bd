"""The secrets that a real installation made for itself, in neither topology anywhere but in their files."""

import json
from collections import Counter
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx2
import pytest
from temporalio.client import Client

from schemas import wire
from tests.canaries.harness import Search, canaries_in
from tests.faults import installation
from tests.faults.installation import data_dir, interrupt, running
from tests.servers.processes import needs_proc
from workers.children import START_SECONDS_VARIABLE
from workers.datadir import DataDir
from workers.postgres import PASSWORD_FILE, SUPERUSER

__all__ = ["data_dir"]

SIGNALS = ("canary-1", "canary-2", "canary-3")
HOWEVER_BUSY_SECONDS = 3600
"""What is judged here is where secrets stand, and not how fast a machine is that does other things too."""

pytestmark = [needs_proc, pytest.mark.timeout(2 * HOWEVER_BUSY_SECONDS), pytest.mark.slow]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing that is waited for end this test but its own limit."""
    monkeypatch.setenv(START_SECONDS_VARIABLE, str(HOWEVER_BUSY_SECONDS))
    for name in ("READY", "ENDED", "ANSWERED", "SETTLED"):
        monkeypatch.setattr(installation, f"{name}_WITHIN_SECONDS", HOWEVER_BUSY_SECONDS)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("topology", ["compact", "isolated"])
@pytest.mark.parametrize("payloads", ["plain", "encrypted"])
async def test_no_secret_of_an_installation_stands_anywhere(
    data_dir: DataDir, topology: str, payloads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: a first start, three orders, the processes listed while they run, everything else searched."""
    monkeypatch.setenv("TRADING_PAYLOADS", payloads)
    async with running(data_dir, f"--topology={topology}") as doors:
        # With its time, so that a signal whose answer was lost is the same signal again.
        created_at = datetime.now(UTC).isoformat()
        assert set(await doors.submit_until_answered(SIGNALS, created_at=created_at)) == {202}
        ends = Counter(row["status"] for row in await doors.until_settled(len(SIGNALS)))
        owner = (data_dir.postgres / PASSWORD_FILE).read_text().strip()
        search = Search(canaries_in(data_dir.keys).but(owner=owner))
        search.look_at_processes(doors.family())
        place = urlsplit(doors.addresses["database_url"])
        await search.look_in_database(f"postgresql://{SUPERUSER}:{owner}@127.0.0.1:{place.port}{place.path}")
        stranger = await Client.connect(doors.addresses["temporal_address"], namespace=wire.NAMESPACE)
        await search.look_in_histories(stranger)
        urls = [doors.addresses["metrics_url"], *doors.addresses.get("metrics_urls", {}).values()]
        async with httpx2.AsyncClient(timeout=HOWEVER_BUSY_SECONDS) as http:
            for url in urls:
                search.look("metrics", (await http.get(url)).text)
        search.look("printed", "".join(doors.up.lines))
        end = await interrupt(doors.up)
    search.look("printed", end.out + end.errors)
    search.look_in_files("logs", data_dir.logs)
    search.assert_nowhere(
        "logs", "histories", "table public.audit_payloads", "metrics", "cmdline", "environ", "printed"
    )
    found = {"secrets": search.count, "places": len(search.searched), "bytes": sum(search.searched.values())}
    print(json.dumps({"topology": topology, "payloads": payloads, "orders": ends, **found, "hits": 0}))
