"""The running product seals what it has decided, and an auditor can check it with nothing but the public key."""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path

import asyncpg

from security.approval_files import SIGNING_KEY
from security.notes import AUDIT_KEY as KEY_FILE
from tests.console.commands import of_stack
from tests.postgres.sealed import mth, raw_leaf
from tests.servers.approvals import AUDIT_KEY, BOTH
from tests.servers.notes import opened
from tests.servers.stack import POLL_SECONDS, SETTLED_WITHIN_SECONDS, Stack, signal


async def test_a_fill_is_under_a_checkpoint_that_its_key_has_signed(
    stack: Stack, tmp_path: Path, unique: Callable[[str], str]
) -> None:
    name = unique("sealed")
    await stack.submit(signal(name))
    await stack.settled(name)
    connection = await asyncpg.connect(stack.dsn)
    last = await connection.fetchval("select max(id) from audit_log where correlation_id = $1", name)
    async with asyncio.timeout(SETTLED_WITHIN_SECONDS):
        while not await connection.fetchval(
            "select sequence < checkpoint_size from audit_leaves, audit_head where audit_id = $1", last
        ):
            await asyncio.sleep(POLL_SECONDS)
    size = await connection.fetchval("select checkpoint_size from audit_head")
    rows = await connection.fetch(
        "select * from audit_leaves s join audit_log l on l.id = s.audit_id where sequence < $1 order by sequence",
        size,
    )
    await connection.close()

    (tmp_path / SIGNING_KEY).write_text(BOTH["approval_signing_key"].get_secret_value())
    (tmp_path / KEY_FILE).write_text(AUDIT_KEY)
    trading = of_stack(stack)
    keys = await trading("keys", "list", "--folder", str(tmp_path), "--json")
    vkey = keys.json["audit_vkey"]
    assert AUDIT_KEY not in keys.out
    outside = Path(stack.settings.audit_target)
    assert (outside / "key").read_text() == f"{vkey}\n"
    text = opened((outside / "checkpoints" / f"{size:020d}").read_text(), vkey)
    root = base64.b64encode(mth([raw_leaf(row) for row in rows])).decode()
    assert text == f"{vkey.partition('+')[0]}\n{size}\n{root}\n"

    check = ("--checkpoints", str(outside), "--key", vkey)
    verified = await trading("audit", "verify", *check, "--state", str(tmp_path / "state"), "--json")
    assert (verified.code, verified.json["findings"]) == (0, []), verified.out
    assert verified.json["rows"] >= size
    client_order_id = (await stack.http.get(f"/v1/orders/{name}")).json()["client_order_id"]
    story = await trading("audit", "show", client_order_id, "--json")
    assert {"SIGNAL_ACCEPTED", "APPROVED"} <= {each["decision"] for each in story.json}
    proof = tmp_path / "fill.proof"
    assert (await trading("audit", "prove", name, *check, "--out", str(proof))).code == 0
    proved = await trading("audit", "prove", "--check", str(proof), *check, "--json")
    assert {each["row"]["correlation_id"] for each in proved.json} == {name}
    assert (await stack.http.get("/metrics")).text.count("\naudit_check_failed 0.0") == 1

    status = await trading("status", "--json")
    assert status.json["audit"]["checkpoint"] >= size
    assert status.json["audit"]["sealed"] >= status.json["audit"]["checkpoint"]
    line = next(each for each in (await trading("status")).out.splitlines() if each.startswith("audit log"))
    assert "newest checkpoint outside the database" in line
    metrics = (await stack.http.get("/metrics")).text
    assert "audit_sealing_lag_seconds" in metrics
    assert "audit_sealed_rows_total" in metrics
