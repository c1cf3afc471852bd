"""The secrets that a real installation made for itself, in neither topology anywhere but in their files."""

import httpx2
import pytest
from temporalio.client import Client

from schemas import wire
from tests.canaries.harness import Search, canaries_in
from tests.faults.installation import data_dir, interrupt, running
from tests.servers.processes import needs_proc
from workers.datadir import DataDir

__all__ = ["data_dir"]

SIGNALS = ("canary-1", "canary-2", "canary-3")

pytestmark = [needs_proc, pytest.mark.timeout(400), pytest.mark.slow]


@pytest.mark.parametrize("topology", ["compact", "isolated"])
@pytest.mark.parametrize("payloads", ["plain", "encrypted"])
async def test_no_secret_of_an_installation_stands_anywhere(
    data_dir: DataDir, topology: str, payloads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: a first start, three orders, the processes listed while they run, everything else searched."""
    monkeypatch.setenv("TRADING_PAYLOADS", payloads)
    async with running(data_dir, f"--topology={topology}") as doors:
        assert set(await doors.submit_until_answered(SIGNALS)) == {202}
        await doors.until_settled(len(SIGNALS))
        search = Search(canaries_in(data_dir.keys))
        search.look_at_processes(doors.family())
        await search.look_in_database(doors.addresses["database_url"])
        stranger = await Client.connect(doors.addresses["temporal_address"], namespace=wire.NAMESPACE)
        await search.look_in_histories(stranger)
        urls = [doors.addresses["metrics_url"], *doors.addresses.get("metrics_urls", {}).values()]
        async with httpx2.AsyncClient() as http:
            for url in urls:
                search.look("metrics", (await http.get(url)).text)
        search.look("printed", "".join(doors.up.lines))
        end = await interrupt(doors.up)
    search.look("printed", end.out + end.errors)
    search.look_in_files("logs", data_dir.logs)
    search.assert_nowhere(
        "logs", "histories", "table public.audit_payloads", "metrics", "cmdline", "environ", "printed"
    )
