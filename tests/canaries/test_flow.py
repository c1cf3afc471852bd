"""A whole order flow with failures, a canary in every slot, and none of them in anything that was written."""

import asyncio
import base64
import json
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

import pytest
from pydantic import SecretStr
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client

from activities.failures import as_failure
from broker.alpaca.client import AlpacaReader
from broker.errors import BrokerError
from observability import logging as our_logging
from observability.logging import configure_logging, get_logger, restore_logging
from observability.redaction import redact_text
from observability.tracing import configure_tracing, span
from security.payloads import KeyRing, PayloadKeyError, PayloadKeys, data_converter
from storage.database import Database, DatabaseUnavailable
from tests.canaries.harness import Canaries, Search, canaries_in, fresh_canaries, slots
from tests.servers.collector import Collector, collecting
from tests.servers.stack import Stack, StackFactory, settings_for, signal
from workers import temporal
from workers.clients import audit_store, broker_settings, payload_ring
from workers.settings import (
    PROCESSES,
    PUBLIC,
    SECRETS_DIR_VARIABLE,
    SettingsError,
    WorkerSettings,
    read_settings,
    register_secrets,
)

THE_STACKS_OWN = {"database_url", "database_password", "audit_key", "broker_key", "broker_secret"}
"""Slots that are filled otherwise: with unique values too."""

_log = get_logger(__name__)


@pytest.fixture
def canaries() -> Canaries:
    return fresh_canaries()


@pytest.fixture
def written(tmp_path: Path) -> Iterator[tuple[Path, Collector]]:
    """Everything that is logged, at its most talkative, and every span; ask for it before the product."""
    file = tmp_path / "logs" / "product.log"
    file.parent.mkdir()
    with collecting() as collector:
        configure_logging("canary", level="DEBUG", file=file, mode="paper")
        tracing = configure_tracing("canary", endpoint=collector.url, mode="paper")
        yield file, collector
        tracing.close()
        restore_logging()
        our_logging._trace_ids = None


@pytest.mark.parametrize("topology", ["compact", "isolated"])
async def test_no_canary_stands_anywhere(
    written: tuple[Path, Collector],
    canaries: Canaries,
    stack_factory: StackFactory,
    unique: Any,
    topology: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How: orders filled, refused by risk and of unknown outcome, in plain histories, which show most."""
    own = {
        name: SecretStr(text)
        for name, text in canaries.given.items()
        if name in PROCESSES["compact"].secrets - THE_STACKS_OWN
    }
    audit_key = SecretStr(canaries.given["audit_key"])
    monkeypatch.setattr(
        "tests.servers.stack.settings_for", partial(as_a_process_reads_them, audit_key=audit_key)
    )
    stack = await stack_factory(topology=topology, ours={**own, "payloads": "plain"})
    search = Search(canaries.but(
        broker_key=stack.exchange.key, broker_secret=stack.exchange.secret, token=stack.token,
        owner=urlsplit(stack.dsn).password or "",
    ))  # fmt: skip
    await orders_of_every_end(stack, unique)
    await failures_that_know_secrets(stack, canaries, search)
    error_texts(canaries, written[0].parent.parent / "wrong", search, monkeypatch)
    await what_is_asked_over_http(stack, search)
    for shown in (stack.settings, stack.parts, vars(stack.parts), broker_settings(stack.settings),
                  audit_store(stack.settings), payload_ring(stack.settings), stack.parts.broker):  # fmt: skip
        search.look("repr", f"{shown!r} {shown}")
    await search.look_in_database(stack.dsn)
    await search.look_in_histories(await Client.connect(stack.temporal.address, namespace=temporal.NAMESPACE))
    search.look_in_files("logs", written[0].parent)
    await asyncio.to_thread(written[1].until, lambda sent: any(s.name == "canary work" for s in sent))
    search.look("spans", b"".join(written[1].bodies))
    search.assert_nowhere(
        "logs", "spans", "histories", "workflows", "table public.audit_payloads", "table public.orders",
        "metrics", "answers", "failures", "repr",
    )  # fmt: skip


def as_a_process_reads_them(*servers: Any, audit_key: SecretStr, **ours: Any) -> WorkerSettings:
    """Settings of a stack, whose secrets are known to redaction before anything is made with them."""
    settings = settings_for(*servers, **ours).model_copy(update={"audit_key": audit_key})
    register_secrets(settings)
    return settings


async def orders_of_every_end(stack: Stack, unique: Any) -> None:
    """Filled, refused by risk, refused by the broker, an answer that never came."""
    filled, refused, unknown = unique("filled"), unique("refused"), unique("unknown")
    await stack.submit(signal(filled, hard_stop_loss="50"))
    await stack.submit(signal(refused, order_type="LIMIT", limit_price="1000000"))
    await stack.settled(filled)
    await stack.settled(refused)
    fault = {"action": "drop_after_landing", "match": {"method": "POST", "path": "/v2/orders"}}
    await stack.control("faults", fault)
    await stack.submit(signal(unknown, quantity="3"))
    await stack.settled(unknown)


async def failures_that_know_secrets(stack: Stack, canaries: Canaries, search: Search) -> None:
    """A broker that sends the keys back, a database that is away, a secret in a local and in an error's text."""
    with echoing_broker() as url:
        settings = stack.settings.model_copy(update={"broker_trading_url": url})
        broker = AlpacaReader(broker_settings(settings))
        try:
            await broker.get_account()
            pytest.fail("the broker refuses everything")
        except BrokerError as error:
            search.look("answers", f"{error.message} {error!r}")
            await log_as_everyone_does(error, search)
        finally:
            await broker.close()
    password = canaries.needles["database_url"]
    try:
        await Database.connect(canaries.given["database_url"])
    except DatabaseUnavailable as error:
        _log.error("cannot run: a dependency is down", reason=f"{type(error).__name__}: {error}")
        search.look("failures", str(error))
    try:
        local = canaries.needles["approval_signing_key"]
        raise RuntimeError(f"cannot sign with {local} for postgresql://ti_x:{password}@database:5432/trading")
    except RuntimeError as error:
        register_secrets(
            stack.settings.model_copy(update={"database_url": SecretStr(canaries.given["database_url"])})
        )
        await log_as_everyone_does(error, search)


async def log_as_everyone_does(error: Exception, search: Search) -> None:
    """The ways an error goes: a line, a span, a failure of a step in Temporal, plain and encrypted."""
    _log.error("unexpected", exc_info=error)
    _log.warning("a call failed: %s", error, reason=str(error), error=error)
    with pytest.raises(type(error)), span("canary work", told=str(error)):
        raise error
    told = as_failure(error) if isinstance(error, BrokerError) else error
    ring = KeyRing(PayloadKeys.parse(f"k:{'0' * 64}"))
    for converter in (data_converter(None), data_converter(ring)):
        failure = Failure()
        await converter.encode_failure(told, failure)
        search.look("failures", failure.SerializeToString())
        search.look("failures", f"{await converter.decode_failure(failure)}")


def error_texts(canaries: Canaries, folder: Path, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    """What wrong secrets say of themselves: too long, too short, no keys, no address."""
    folder.mkdir()
    for name, text in {
        "alert_pagerduty_routing_key": canaries.given["alert_pagerduty_routing_key"] + "x",
        "broker_wake_secret": canaries.given["broker_wake_secret"][:20],
        "alert_slack_url": canaries.given["alert_slack_url"].replace("http", "ftp"),
    }.items():
        (folder / f"trading_{name}").write_text(text)
    monkeypatch.setenv(SECRETS_DIR_VARIABLE, str(folder))
    with pytest.raises(SettingsError) as refused:
        read_settings(WorkerSettings)
    search.look("failures", "".join(traceback.format_exception(refused.value)))
    with pytest.raises(PayloadKeyError) as wrong:
        PayloadKeys.parse(canaries.given["payload_keys"].strip() + "0")
    search.look("failures", "".join(traceback.format_exception(wrong.value)))


async def what_is_asked_over_http(stack: Stack, search: Search) -> None:
    """Metrics, and answers to wrong requests that bring secrets along."""
    search.look("metrics", (await stack.http.get("/metrics")).text)
    wrong = {"Authorization": "Bearer wrong"}
    for answer in (
        await stack.http.get("/v1/signals", headers=wrong),
        await stack.http.get("/v1/orders/none"),
        await stack.http.post("/v1/signals", json={"nothing": "right"}),
        await stack.http.get("/readyz"),
        await stack.http.get("/openapi.json"),
    ):
        search.look("answers", answer.text + str(answer.headers))


@contextmanager
def echoing_broker() -> Iterator[str]:
    """An address whose every answer repeats the request's headers, as gateways do to say what was wrong."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = ", ".join(f"{name}: {value}" for name, value in self.headers.items())
            body = json.dumps({"code": 40310000, "message": f"forbidden: {told}"}).encode()
            self.send_response(403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


NOT_SECRET = {
    "temporal_address": "127.0.0.1:1", "audit_target": "/nowhere", "broker_trading_url": "http://127.0.0.1:1",
    "broker_stream_url": "ws://127.0.0.1:1/stream", "data_url": "http://127.0.0.1:1",
    "data_stream_url": "ws://127.0.0.1:1/v2/iex",
}  # fmt: skip


@pytest.mark.parametrize("name", PROCESSES)
def test_every_slot_of_a_process_is_known_to_redaction(name: str, canaries: Canaries) -> None:
    """A secret that a process gets and redaction does not is found here, whoever adds it."""
    process = PROCESSES[name]
    own = {each: canaries.given[each] for each in process.secrets}
    settings = process.settings.model_validate(NOT_SECRET | own)
    register_secrets(settings)
    for each in process.secrets & canaries.needles.keys():
        needle = canaries.needles[each]
        for text in (
            needle,
            quote_plus(needle),
            base64.b64encode(needle.encode()).decode(),
            json.dumps(needle),
        ):
            assert needle not in redact_text(f"it was {text} and failed")
            assert text.strip('"=') not in redact_text(f"it was {text} and failed"), each
        assert needle not in f"{settings!r} {settings}", each


def test_what_is_told_to_anybody_is_every_public_key_and_nothing_else() -> None:
    """What stands there is neither cut out of what is written nor looked for."""
    assert {name for name in slots() if "public" in name} == PUBLIC


def test_the_search_is_awake(tmp_path: Path, canaries: Canaries) -> None:
    """How: each canary, as other layers write it, is put somewhere and found; public keys are no canaries."""
    for name, needle in canaries.needles.items():
        for text in (needle, quote_plus(needle), json.dumps({"x": needle}), repr(needle)):
            search = Search(canaries)
            search.look("place", f"before {text} after")
            assert search.hits, name
            with pytest.raises(AssertionError):
                search.assert_nowhere("place")
    with pytest.raises(AssertionError, match="nothing was searched"):
        Search(canaries).assert_nowhere("logs")
    for service in ("risk", "execution"):
        (tmp_path / service).mkdir()
        (tmp_path / service / "trading_database_password").write_text(f"a-secret-of-{service}")
        (tmp_path / service / "trading_approval_public_keys").write_text("told to anybody")
    assert canaries_in(tmp_path).needles == {
        f"{service}/trading_database_password": f"a-secret-of-{service}" for service in ("execution", "risk")
    }
