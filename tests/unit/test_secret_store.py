"""Where each secret may come from, and what is refused with which words."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from security.secrets.errors import SecretMalformed, SecretMissing, SecretsRefused, SecretsUnreachable
from security.secrets.port import StoredSecret, document, json_document
from tests.servers.approvals import BOTH
from tests.servers.processes import REPOSITORY
from workers import run, secret_store
from workers.held import SecretNotAllowed, refuse_what_is_not_ours
from workers.settings import ENV_PREFIX, SECRETS_DIR_VARIABLE, ExecutionSettings, SettingsError
from workers.settings_base import Settings

VALUE = "a value that no message may show"
EXECUTION = {
    "TRADING_DATABASE_URL": "postgresql://ti_execution@127.0.0.1:5432/trading",
    "TRADING_TEMPORAL_ADDRESS": "127.0.0.1:7233",
    "TRADING_BROKER_TRADING_URL": "https://paper-api.alpaca.markets",
    "TRADING_BROKER_STREAM_URL": "wss://paper-api.alpaca.markets/stream",
    "TRADING_DATA_URL": "https://data.alpaca.markets",
    "TRADING_DATA_STREAM_URL": "wss://stream.data.alpaca.markets/v2/iex",
}
IN_VAULT = {
    "TRADING_SECRET_SOURCE": "vault", "TRADING_VAULT_ADDRESS": "https://vault.example:8200",
    "TRADING_VAULT_ROLE_ID": "role", "TRADING_VAULT_SECRET_ID": VALUE,
}  # fmt: skip
PAIR = {"broker_key": "PKONE", "broker_secret": VALUE}
REST = {"approval_public_keys": BOTH["approval_public_keys"].get_secret_value()}


class Kept:
    """A store as a dictionary: what is asked of it is what these tests are about."""

    name = "vault"

    def __init__(self, documents: dict[str, dict[str, str]]) -> None:
        self._documents = documents
        self.closed = False

    def place(self, path: str) -> str:
        return f"vault secret/{path}"

    def read(self, path: str) -> StoredSecret:
        if path not in self._documents:
            raise SecretMissing(f"{self.place(path)}: nothing is stored there")
        return document(self.place(path), 1, self._documents[path])

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def execution(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Give a function that reads execution's settings from variables, and from a store with these documents."""

    def read(documents: dict[str, dict[str, str]] | None = None, **variables: str) -> Settings:
        environment = {**EXECUTION, **(IN_VAULT if documents is not None else {}), **variables}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        if documents is not None:
            kept = Kept(documents)
            monkeypatch.setattr(secret_store, "open_source", lambda *_: kept)
        refuse_what_is_not_ours("execution", environment)
        return secret_store.read_process_settings("execution", environment)

    return read


def test_every_secret_may_stand_in_the_store(execution: Callable[..., Any]) -> None:
    settings = execution({
        "trading-interface/broker": PAIR,
        "trading-interface/execution": {**REST, "database_password": VALUE},
    })  # fmt: skip
    assert isinstance(settings, ExecutionSettings)
    assert settings.broker_secret == SecretStr(VALUE)
    assert settings.database_password == SecretStr(VALUE)
    assert VALUE not in repr(settings)


def test_what_is_not_in_the_store_comes_from_the_folder_and_what_is_outranks_it(
    execution: Callable[..., Any], tmp_path: Path
) -> None:
    for name, value in {**REST, "database_password": "of the file", "broker_key": "PKOLD"}.items():
        (tmp_path / f"trading_{name}").write_text(value)
    settings = execution({"trading-interface/broker": PAIR}, **{SECRETS_DIR_VARIABLE: str(tmp_path)})
    assert settings.database_password == SecretStr("of the file")
    assert settings.broker_key == SecretStr("PKONE")


def test_broker_keys_of_a_broker_beyond_this_machine_come_from_a_store(
    execution: Callable[..., Any], tmp_path: Path
) -> None:
    given = {f"TRADING_{name.upper()}": value for name, value in {**PAIR, **REST}.items()}
    with pytest.raises(SettingsError, match="TRADING_SECRET_SOURCE=vault or aws") as refused:
        execution(**given)
    assert "trading-interface/broker" in str(refused.value)
    assert VALUE not in str(refused.value)
    assert execution(**{**given, "TRADING_BROKER_TRADING_URL": "http://127.0.0.1:8085"})


@pytest.mark.parametrize(
    ("documents", "variables", "error", "words"),
    [
        ({}, {}, SecretMissing, "trading-interface/broker"),
        ({"trading-interface/broker": {"broker_key": "PKONE"}}, {}, SecretMissing, "no field broker_secret"),
        (
            {"trading-interface/broker": {**PAIR, "approval_signing_key": VALUE}}, {},
            SecretNotAllowed, "approval_signing_key",
        ),
        (
            {"trading-interface/broker": PAIR, "trading-interface/execution": {"audit_key": VALUE}}, {},
            SecretNotAllowed, "audit_key",
        ),
        (
            {"trading-interface/broker": PAIR, "trading-interface/execution": {"vault_secret_id": VALUE}}, {},
            SecretNotAllowed, "vault_secret_id",
        ),
        (
            {"trading-interface/broker": PAIR, "trading-interface/execution": REST},
            {"TRADING_BROKER_SECRET": VALUE}, SettingsError, "TRADING_BROKER_SECRET: given twice",
        ),
        ({}, {"TRADING_VAULT_ADDRESS": ""}, SettingsError, "TRADING_VAULT_ADDRESS"),
        ({}, {"TRADING_VAULT_ADDRESS": "http://vault.example"}, SettingsError, "TLS"),
        ({}, {"TRADING_SECRET_SOURCE": "aws"}, SettingsError, "TRADING_AWS_REGION"),
        ({}, {"TRADING_SECRET_SOURCE": "env"}, SettingsError, "TRADING_SECRET_SOURCE"),
        ({}, {"TRADING_NTP_SERVERS": "a.example,b.example"}, SettingsError, "TRADING_NTP_SERVERS"),
    ],
)  # fmt: skip
def test_what_is_missing_or_too_much_is_named_and_never_shown(
    execution: Callable[..., Any],
    documents: dict[str, dict[str, str]],
    variables: dict[str, str],
    error: type[Exception],
    words: str,
) -> None:
    if "TRADING_NTP_SERVERS" in variables:
        documents = {"trading-interface/broker": PAIR, "trading-interface/execution": REST}
    with pytest.raises(error, match=words) as refused:
        execution(documents, **variables)
    assert VALUE not in str(refused.value)


@pytest.mark.parametrize(
    ("error", "code"),
    [(SecretsUnreachable("down"), 3), (SecretsRefused("no"), 1), (SecretMalformed("odd"), 1)],
)
def test_a_store_that_is_down_at_the_start_is_exit_code_3(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: str) -> Settings:
        raise error

    monkeypatch.setattr(run, "read_process_settings", fail)
    monkeypatch.setattr(run, "refuse_what_is_not_ours", lambda _: None)
    assert run.main(["execution"]) == code
    assert capsys.readouterr().err == f"{error}\n"


def test_nobody_answering_is_one_line_and_exit_code_3() -> None:
    """The whole process, and a vault that is not there."""
    environment = {**EXECUTION, **IN_VAULT, "TRADING_VAULT_ADDRESS": "http://127.0.0.1:9"}
    ended = subprocess.run(
        [sys.executable, "-m", "workers.run", "execution"], capture_output=True, text=True, timeout=60,
        check=False, cwd=REPOSITORY, env={"PATH": "/usr/bin:/bin", **environment},
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.count("\n") == 1
    assert "trading-interface/execution" in ended.stderr or "login by AppRole" in ended.stderr
    assert VALUE not in ended.stderr


@pytest.mark.parametrize(
    "text", ["", "[]", '"x"', "{", '{"a": 1}', '{"a": null}', '{"A b": "x"}', '{"a": ""}']
)
def test_a_document_is_an_object_of_texts(text: str) -> None:
    with pytest.raises(SecretMalformed, match="the place"):
        json_document("the place", 1, text)


def test_the_names_of_stores_are_no_secrets_of_others() -> None:
    """Who holds no secret may be told where the others' are."""
    refuse_what_is_not_ours("orders", {f"{ENV_PREFIX}SECRET_SOURCE": "vault"})
    with pytest.raises(SecretNotAllowed):
        refuse_what_is_not_ours("orders", {f"{ENV_PREFIX}VAULT_SECRET_ID": VALUE})
