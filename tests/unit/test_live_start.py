"""A worker that somebody starts by hand for the live brokerage: it refuses, before it reaches anything."""

import ast
import json
import os
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from broker.alpaca.hosts import ALPACA_LIVE, HostRefused, LiveHostRefused
from observability import logging as logs
from schemas.live import KeySource, LiveReason
from schemas.mode import Mode
from security.approvals import ApprovalKeys
from storage.switches import Installation
from tests.servers.approvals import BOTH, KEYS
from tests.servers.live import SIGNER
from tests.tidy.tree import ROOT, dotted, parse, sources
from workers import live as live_start
from workers import run
from workers.clients import broker_settings
from workers.keys import GRANT_KEY, GRANT_PUBLIC_KEY, make_missing
from workers.settings import (
    ExecutionSettings,
    GatewaySettings,
    OperationsSettings,
    OrdersSettings,
    RiskSettings,
    WorkerSettings,
)

LIVE: Final = {
    "TRADING_BROKER_TRADING_URL": ALPACA_LIVE.trading_url,
    "TRADING_BROKER_STREAM_URL": ALPACA_LIVE.stream_url,
}
BASE: Final = {
    "TRADING_BROKER_KEY": "k", "TRADING_BROKER_SECRET": "s", "TRADING_DATA_URL": "https://data.alpaca.markets",
    "TRADING_DATA_STREAM_URL": "wss://stream.data.alpaca.markets/v2/iex",
    "TRADING_DATABASE_URL": "postgresql://ti_execution@127.0.0.1:1/d", "TRADING_TEMPORAL_ADDRESS": "127.0.0.1:1",
    "TRADING_AUDIT_KEY": "a" * 64, "TRADING_AUDIT_TARGET": "/nowhere", "TRADING_PAYLOADS": "encrypted",
    "TRADING_PAYLOAD_KEYS": f"k:{'0' * 64}",
}  # fmt: skip
INSTALLATION: Final = Installation(namespace=UUID(int=7), account="A1", mode="live")


def settings_of(kind: Any, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Any:
    for name in list(os.environ):
        if name.upper().startswith("TRADING_") or name == "LIVE_MODE":
            monkeypatch.delenv(name)
    keys = {f"TRADING_{name.upper()}": text for name, text in BOTH.items()}
    for name, text in (BASE | LIVE | keys | variables).items():
        monkeypatch.setenv(name, str(getattr(text, "get_secret_value", lambda text=text: text)()))
    return kind()


@pytest.mark.parametrize("word", [None, "true", "1", "TRUE"])
@pytest.mark.parametrize("kind", [ExecutionSettings, OperationsSettings, WorkerSettings])
@pytest.mark.parametrize("source", KeySource)
def test_the_live_address_is_reached_by_none_but_who_is_set_up_for_it(
    kind: Any, word: str | None, source: KeySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(kind, monkeypatch, **({} if word is None else {"LIVE_MODE": word}))
    monkeypatch.setattr(live_start, "key_source", lambda _: source)
    if word == "true" and kind is not WorkerSettings and source.is_store:
        assert broker_settings(settings).mode is Mode.LIVE
        return
    with pytest.raises(LiveHostRefused):
        broker_settings(settings)


@pytest.mark.parametrize(
    "url", ["https://api.alpaca.markets:443", "https://API.alpaca.markets", "https://x.example"]
)
def test_no_other_address_is_reached_however_it_is_asked_for(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_start, "key_source", lambda _: KeySource.VAULT)
    settings = settings_of(ExecutionSettings, monkeypatch, LIVE_MODE="true", TRADING_BROKER_TRADING_URL=url)
    with pytest.raises(HostRefused):
        broker_settings(settings)


def by_hand(monkeypatch: pytest.MonkeyPatch) -> int:
    """As `trading worker execution` with these variables. No database, Temporal or broker is there to be asked."""
    settings_of(ExecutionSettings, monkeypatch, LIVE_MODE="true")
    for name in ("TRADING_APPROVAL_SIGNING_KEY", "TRADING_AUDIT_KEY", "TRADING_AUDIT_TARGET"):
        monkeypatch.delenv(name)
    try:
        return run.main(["execution"])
    finally:
        logs.restore_logging()
        logs.use_mode("paper")


def test_a_worker_by_hand_with_keys_in_its_variables_is_refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert by_hand(monkeypatch) == run.EXIT_USAGE
    assert "TRADING_BROKER_KEY" in capfd.readouterr().err


def test_a_worker_by_hand_ends_before_it_reaches_anything_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """How: its keys pass for once, so that the live brokerage itself has to say no."""
    monkeypatch.setattr(run, "read_process_settings", lambda _: ExecutionSettings())
    assert by_hand(monkeypatch) == run.EXIT_REFUSED
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert LiveReason.KEYS_NOT_FROM_STORE.value in lines[-1]["reason"]
    assert {line["mode"] for line in lines} == {"live"}, "it was asked for"


@pytest.mark.parametrize("kind", [ExecutionSettings, OperationsSettings])
def test_the_live_brokerage_is_not_reached_with_plain_payloads_and_what_to_do_is_said(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_start, "key_source", lambda _: KeySource.VAULT)
    settings = settings_of(kind, monkeypatch, LIVE_MODE="true", TRADING_PAYLOADS="plain")
    with pytest.raises(LiveHostRefused, match="set TRADING_PAYLOADS=encrypted for every process"):
        broker_settings(settings)


@pytest.mark.parametrize("word", ["true", "True", "false", None])
@pytest.mark.parametrize("payloads", ["plain", "encrypted", None])
@pytest.mark.parametrize("bound", ["live", "paper", None])
@pytest.mark.parametrize("kind", [OrdersSettings, GatewaySettings, RiskSettings])
def test_no_process_of_a_live_installation_writes_plain_payloads(
    kind: Any, word: str | None, payloads: str | None, bound: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also who has no word of the broker: by its own variable, or by what the database is bound to."""
    settings = settings_of(
        kind,
        monkeypatch,
        **({} if word is None else {"LIVE_MODE": word}),
        TRADING_PAYLOADS=payloads or "",
    )
    if payloads != "encrypted" and (word == "true" or bound == "live"):
        with pytest.raises(live_start.PlainPayloads, match="set TRADING_PAYLOADS=encrypted"):
            live_start.refuse_plain_payloads(settings, bound)
        return
    live_start.refuse_plain_payloads(settings, bound)


def test_orders_by_hand_end_with_plain_payloads_and_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    settings_of(OrdersSettings, monkeypatch, LIVE_MODE="true", TRADING_PAYLOADS="plain")
    for name in list(os.environ):
        if name.startswith("TRADING_") and name not in ("TRADING_PAYLOADS", "TRADING_TEMPORAL_ADDRESS"):
            monkeypatch.delenv(name)
    assert run.main(["orders", "--json"]) == run.EXIT_REFUSED
    told = json.loads(capfd.readouterr().err)["error"]
    assert told["code"] == "REFUSED"
    assert "set TRADING_PAYLOADS=encrypted" in told["message"]


def test_a_guard_is_made_for_execution_at_the_live_brokerage_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(
        ExecutionSettings, monkeypatch, TRADING_CONSOLE_GRANT_PUBLIC_KEY=SIGNER.public_key.hex()
    )
    paper = INSTALLATION.model_copy(update={"mode": "paper"})
    assert live_start.live_guard(settings, paper, KEYS) is None
    assert live_start.live_guard(settings, INSTALLATION, KEYS) is not None
    first = live_start.configuration_of(settings, INSTALLATION, KEYS)
    for change in (
        {"TRADING_DATA_URL": "https://other.example"},
        {"TRADING_BROKER_REQUESTS_PER_MINUTE": "300"},
        {"TRADING_DATA_FEED": "sip"},
        {"TRADING_SECONDARY_DATA_URL": "https://other.example"},
        {"TRADING_SECONDARY_DATA_STREAM_URL": "wss://other.example/v2/sip"},
        {"TRADING_SECONDARY_DATA_FEED": "iex"},
    ):
        other = live_start.configuration_of(
            settings_of(ExecutionSettings, monkeypatch, **change), INSTALLATION, KEYS
        )
        assert other.hash != first.hash, "another configuration needs another grant"
    assert "get_secret_value" not in first.model_dump_json()
    assert isinstance(KEYS, ApprovalKeys)


def test_the_consoles_key_and_executions_belong_together(tmp_path: Path) -> None:
    made = make_missing(tmp_path, [GRANT_PUBLIC_KEY])
    again = make_missing(tmp_path, [GRANT_PUBLIC_KEY, GRANT_KEY])
    assert made[GRANT_PUBLIC_KEY] == again[GRANT_PUBLIC_KEY]
    assert live_start.LiveGrantKey.from_hex(made[GRANT_PUBLIC_KEY])
    assert made[GRANT_PUBLIC_KEY] != again[GRANT_KEY]


def test_permits_are_made_in_one_place() -> None:
    """What the adapter believes without asking: so nobody else may make one."""
    makers = {
        str(file.relative_to(ROOT))
        for file in sources()
        if not file.is_relative_to(ROOT / "tests")
        for node in ast.walk(parse(file.read_text()))
        if isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] == "LivePermit"
    }
    assert makers == {"security/live.py"}
