"""Encrypted payloads: an order, the codec server with the real command line, the kill switch by hand."""

import asyncio
import base64
import json
import re
import secrets
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google.protobuf.json_format import MessageToDict
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHistory
from temporalio.common import RawValue

from console.acts.orders import cancel_order
from console.errors import DependencyDown
from schemas.wire import ID_KILL_SWITCH, ID_TRADE_UPDATES, order_workflow_id
from security.payload_files import PAYLOAD_KEYS, read_file
from security.payloads import KeyRing, PayloadKeys, data_converter
from storage.orders import read_order
from storage.switches import read_state
from tests.console.commands import of_stack
from tests.replay.replaying import failure
from tests.servers.stack import Stack, StackFactory, signal
from workers import temporal
from workers.clients import use_payload_keys
from workers.datadir import free_port
from workflows.orders import OrderWorkflow
from workflows.protection import ProtectionWorkflow

FIRST, SECOND, FOREIGN = f"first:{'a1' * 32}", f"second:{'b2' * 32}", f"foreign:{'c3' * 32}"
TOKEN = secrets.token_hex(32)
UI = "http://127.0.0.1:8233"
SECONDS = 60
TOLD = "from audit_log join audit_payloads on audit_id = id"


@pytest.fixture
async def sealed(stack_factory: StackFactory) -> Stack:
    """Give the product with payloads encrypted under the first key, its codec server beside it."""
    ours = {
        "payloads": "encrypted",
        "payload_keys": SecretStr(FIRST),
        "codec_token": SecretStr(TOKEN),
        "codec_port": free_port(),
        "codec_origins": UI,
    }
    return await stack_factory(ours=ours)


async def history(stack: Stack, workflow_id: str) -> WorkflowHistory:
    """As Temporal holds it, read with no keys at all."""
    stranger = await Client.connect(stack.temporal.address, namespace=temporal.NAMESPACE)
    return await stranger.get_workflow_handle(workflow_id).fetch_history()


def codec_url(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.settings.codec_port}"


async def temporal_cli(stack: Stack, *arguments: str) -> tuple[int, str]:
    """The real command line."""
    process = await asyncio.create_subprocess_exec(
        str(temporal.find_program()), *arguments, "--address", stack.temporal.address,
        "--namespace", temporal.NAMESPACE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    return process.returncode or 0, out.decode()


def sealed_payload(key: str, value: object) -> Payload:
    plain = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value).encode())
    return KeyRing(PayloadKeys.parse(key)).seal(plain)


async def test_an_order_leaves_nothing_readable_and_keys_rotate_under_way(
    sealed: Stack, unique: Any, tmp_path: Path
) -> None:
    """How: one order under the first key, the keys changed, the next; then each history as a stranger sees it.

    On the same product, as each start of one costs seconds: the codec server, and kills by hand.
    """
    before, after, rests = unique("before"), unique("after"), unique("rests")
    await sealed.submit(
        signal(rests, ticker="MSFT", order_type="LIMIT", limit_price="100.00", time_in_force="GTC")
    )
    await sealed.until(rests, lambda found: found["status"] == "ACKNOWLEDGED")
    await sealed.submit(signal(before))
    await sealed.settled(before)
    use_payload_keys(f"{SECOND}\n{FIRST}")
    await sealed.submit(signal(after, hard_stop_loss="50"))
    assert (await sealed.settled(after))["status"] == "FILLED"
    await sealed.workflow(after).result()
    for signal_id, key in ((before, b"first"), (after, b"second")):
        found = await history(sealed, order_workflow_id(signal_id))
        raw = b"".join(event.SerializeToString() for event in found.events)
        for readable in (b"momentum", b"buy 10", b"limit_price", b"traceparent"):
            assert readable not in without_search_attributes(found), readable
        assert b"binary/encrypted" in raw
        assert key in raw
        # With keys it is all there, and so for every worker.
        own = await sealed.workflow(signal_id).describe()
        assert "buy 10 AAPL" in (await own.static_summary() or "")
    keys = data_converter(KeyRing(PayloadKeys.parse(f"{SECOND}\n{FIRST}")))
    for signal_id in (before, after):
        replayed = await history(sealed, order_workflow_id(signal_id))
        assert await failure(replayed, OrderWorkflow, ProtectionWorkflow, converter=keys) is None
    await the_codec_server_shows_them_to_who_may_read(sealed, before)
    await a_key_is_dropped_when_nothing_needs_it(sealed, rests, tmp_path)
    await a_cancel_by_who_has_no_keys_is_told_as_unknown(sealed, unique("dark"))
    await every_kill_by_hand_engages(sealed)


async def a_key_is_dropped_when_nothing_needs_it(stack: Stack, rests: str, folder: Path) -> None:
    """The order keeps it; kill switch and update stream, whose runs began under it, go on as new ones."""
    (folder / PAYLOAD_KEYS).write_text(f"{SECOND}\n{FIRST}\n")
    drop = ("payloads", "drop", "first", "--folder", str(folder))
    refused = await of_stack(stack)(*drop)
    assert (refused.code, order_workflow_id(rests) in refused.err) == (1, True), refused
    assert {ID_KILL_SWITCH, ID_TRADE_UPDATES}.isdisjoint(re.findall(r"[a-z-]+", refused.err))
    keys = {"TRADING_PAYLOAD_KEYS_FILE": str(folder / PAYLOAD_KEYS)}
    assert (await of_stack(stack)("order", "cancel", rests, "--reason", "test", **keys)).code == 0
    await stack.settled(rests)
    await stack.workflow(rests).result()
    done = await of_stack(stack)(*drop)
    assert done.code == 0, done
    assert list(read_file(folder).by_id) == ["second"]
    use_payload_keys(SECOND)


def without_search_attributes(found: WorkflowHistory) -> bytes:
    """Each event but what Temporal needs to list workflows by."""
    texts = []
    for event in found.events:
        told = type(event)()
        told.CopyFrom(event)
        for _, attributes in told.ListFields():
            if hasattr(attributes, "search_attributes"):
                attributes.ClearField("search_attributes")
        texts.append(told.SerializeToString())
    return b"".join(texts)


async def a_cancel_by_who_has_no_keys_is_told_as_unknown(stack: Stack, name: str) -> None:
    """It is carried out, and its answer cannot be read."""
    await stack.submit(signal(name, ticker="NVDA", order_type="LIMIT", limit_price="40.00"))
    await stack.until(name, lambda order: order["status"] == "ACKNOWLEDGED")
    stranger = await Client.connect(
        stack.temporal.address, namespace=temporal.NAMESPACE, data_converter=data_converter(None)
    )
    async with stack.parts.database.connection() as connection:
        order = await read_order(connection, name)
    with pytest.raises(DependencyDown, match="not known whether it was done") as told:
        await cancel_order(stranger, stack.parts.database.connection, order, name="ana", reason="enough")
    assert f"trading order show {name}" in told.value.do
    assert (await stack.settled(name))["status"] == "CANCELED"


async def every_kill_by_hand_engages(stack: Stack) -> None:
    """The real command line without keys; a client of ours; one that holds other keys."""
    stranger = await Client.connect(stack.temporal.address, namespace=temporal.NAMESPACE)
    for payload, reason in (
        (sealed_payload(FOREIGN, {"reason": "hidden"}), "encrypted under a key that is not known"),
        (sealed_payload(SECOND, {"reason": "sealed stop"}), "sealed stop"),
    ):
        await stranger.get_workflow_handle(ID_KILL_SWITCH).signal("activate", RawValue(payload))
        await until_told(stack, reason)
    by_hand = ("workflow", "signal", "--workflow-id", ID_KILL_SWITCH, "--name", "activate")
    for given, reason in (
        (("--input", json.dumps({"reason": "typed stop"})), "typed stop"),
        ((), "no reason given"),
    ):
        code, told = await temporal_cli(stack, *by_hand, *given)
        assert code == 0, told
        await until_told(stack, reason)
    async with stack.parts.database.connection() as connection:
        assert (await read_state(connection)).engaged


async def until_told(stack: Stack, reason: str) -> None:
    """The activation with that reason is in the audit log."""
    found = f"select count(*) {TOLD} where correlation_id = 'kill-switch' and payload like $1"
    async with asyncio.timeout(SECONDS), stack.parts.database.connection() as connection:
        while not await connection.fetchval(found, f"%{reason}%"):
            await asyncio.sleep(0.05)


async def the_codec_server_shows_them_to_who_may_read(sealed: Stack, name: str) -> None:
    """The real command line, the Web UI's request as its source makes it, and everyone else."""
    show = ("workflow", "show", "--workflow-id", order_workflow_id(name), "--output", "json")
    _, dark = await temporal_cli(sealed, *show)
    assert b"buy 10 AAPL" not in data_in(dark)
    codec = ("--codec-endpoint", codec_url(sealed), "--codec-auth", f"Bearer {TOKEN}")
    code, light = await temporal_cli(sealed, *show, *codec)
    assert code == 0, light
    assert b"buy 10 AAPL" in data_in(light)
    _, denied = await temporal_cli(sealed, *show, *codec[:3], "Bearer wrong")
    assert "buy 10 AAPL" not in denied
    assert b"buy 10 AAPL" not in data_in(denied)

    body = {"payloads": [as_json(sealed_payload(FIRST, {"a": 1})), as_json(sealed_payload(FIRST, 2))]}
    ui = {"Origin": UI, "X-Namespace": temporal.NAMESPACE, "Authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(base_url=codec_url(sealed)) as http:
        asked = await http.request(
            "OPTIONS", "/decode",
            headers={"Origin": UI, "Access-Control-Request-Method": "POST",
                     "Access-Control-Request-Headers": "content-type,x-namespace"},
        )  # fmt: skip
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, UI)
        assert {"content-type", "x-namespace"} <= set(
            asked.headers["access-control-allow-headers"].split(", ")
        )
        answer = await http.post("/decode", json=body, headers=ui)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert [each["data"] for each in answer.json()["payloads"]] == ["eyJhIjogMX0=", "Mg=="]
        for headers, sent, status, code in (
            ({**ui, "Authorization": ""}, body, 401, "UNAUTHENTICATED"),
            ({**ui, "Authorization": f"Bearer {TOKEN[:-1]}"}, body, 401, "UNAUTHENTICATED"),
            ({**ui, "Authorization": f"Basic {TOKEN}"}, body, 401, "UNAUTHENTICATED"),
            ({**ui, "Origin": "http://evil.example"}, body, 403, "ORIGIN_FORBIDDEN"),
            ({**ui, "X-Namespace": "default"}, body, 400, "OTHER_NAMESPACE"),
            (ui, {"payloads": [as_json(sealed_payload(FOREIGN, 1))]}, 422, "UNREADABLE_PAYLOAD"),
            (ui, {"payloads": [{"data": "AA=="}] * 2001}, 400, "NOT_PAYLOADS"),
            (ui, {"payloads": "x" * (8 * 1024 * 1024)}, 413, "TOO_LARGE"),
            (ui, {"payloads": [{"data": 7}]}, 400, "NOT_PAYLOADS"),
        ):
            refused = await http.post("/decode", json=sent, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
        assert (await http.post("/encode", json=body, headers=ui)).status_code == 404
        form = await http.post("/decode", content=b"{}", headers={**ui, "Content-Type": "text/plain"})
        assert form.status_code == 415
    async with sealed.parts.database.connection() as connection:
        rows = await connection.fetch(
            f"select actor, payload {TOLD} where decision = 'PAYLOADS_READ' order by id"
        )
    assert {row["actor"] for row in rows} == {"codec token"}
    counted = [json.loads(row["payload"]) for row in rows]
    assert counted[-1]["decoded"] == 2
    assert sum(each["decoded"] for each in counted) > 2, "the command line's too"


def data_in(printed: str) -> bytes:
    """Every payload's data in what the command line printed."""
    return b"\n".join(base64.b64decode(each) for each in re.findall(r'"data": "([^"]*)"', printed))


def as_json(payload: Payload) -> dict[str, Any]:
    told: dict[str, Any] = MessageToDict(payload)
    return told
