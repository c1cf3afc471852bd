"""Least privilege at the door: a process that is given what it may not hold does not start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from storage.grants import Role
from tests.servers.approvals import BOTH
from workers.configuration import FILE, document
from workers.held import FOREIGN, SecretNotAllowed, refuse_another_role, refuse_what_is_not_ours
from workers.settings import (
    ENV_PREFIX,
    PROCESSES,
    SECRETS_DIR_VARIABLE,
    RiskSettings,
    SettingsError,
    read_settings,
    with_password,
)

VALUE = "s3cr3t-value"
ALONE = [name for name, process in PROCESSES.items() if process.alone]
EVERY_SECRET = {ENV_PREFIX + name.upper() for process in PROCESSES.values() for name in process.secrets}
LATER = {
    "TRADING_APPROVAL_SIGNING_KEY", "TRADING_SLACK_TOKEN", "TRADING_VAULT_SECRET", "TRADING_SIGNING_KEY_FILE",
    "TRADING_BROKER_KEY_ID", "TRADING_CREDENTIALS", "TRADING_APIKEY", "APCA_ANYTHING",
}  # fmt: skip
NOT_OURS = [
    (name, variable)
    for name in ALONE
    for variable in sorted(EVERY_SECRET | LATER | set(FOREIGN))
    if variable.removeprefix(ENV_PREFIX).lower() not in PROCESSES[name].secrets
]


def test_the_table_is_the_designs() -> None:
    holds = {name: PROCESSES[name].secrets for name in ALONE}
    lets_in = {"vault_secret_id", "vault_token", "aws_access_key", "aws_secret_key"}
    database, broker = {"database_url", "database_password"} | lets_in, {"broker_key", "broker_secret"}
    public, payloads = {"approval_public_keys"}, {"payload_keys"}
    assert holds["gateway"] == database | payloads | {"broker_wake_secret"}
    assert holds["risk"] == database | payloads | public | {"approval_signing_key"}
    assert holds["orders"] == payloads
    assert holds["codec"] == database | payloads | {"codec_token"}
    assert holds["execution"] == database | payloads | broker | public | {"console_grant_public_key"}
    alerts = {"alert_slack_url", "alert_pagerduty_routing_key"}
    assert holds["operations"] == database | payloads | broker | alerts | {
        "audit_key",
        "audit_s3_key",
        "audit_s3_secret",
        "event_redis_password",
    }
    own = {"console_key", "console_grant_key", "console_gateway_token"}
    assert holds["console"] == database | payloads | own
    assert not holds["migrate"] & broker
    roles = {name: PROCESSES[name].role for name in ALONE}
    assert roles == {
        "gateway": Role.GATEWAY, "orders": None, "risk": Role.RISK, "execution": Role.EXECUTION,
        "operations": Role.OPERATIONS, "console": Role.CONSOLE, "codec": Role.CONSOLE, "migrate": None,
        "promote": None,
    }  # fmt: skip


@pytest.mark.parametrize(("name", "variable"), NOT_OURS)
def test_a_secret_of_another_is_refused(name: str, variable: str, tmp_path: Path) -> None:
    """In the environment and as a file; the message names secret and process and holds no value."""
    with pytest.raises(SecretNotAllowed) as refused:
        refuse_what_is_not_ours(name, {variable: VALUE})
    assert str(refused.value).startswith(f"{name} may not hold {variable} ")
    (tmp_path / variable.lower()).write_text(VALUE)
    with pytest.raises(SecretNotAllowed) as refused:
        refuse_what_is_not_ours(name, {SECRETS_DIR_VARIABLE: str(tmp_path)})
    assert str(refused.value).startswith(f"{name} may not hold {variable.lower()} ")
    assert VALUE not in str(refused.value)


@pytest.mark.parametrize("name", ALONE)
def test_its_own_secrets_are_taken_and_an_unknown_file_is_not(name: str, tmp_path: Path) -> None:
    own = [ENV_PREFIX + each.upper() for each in PROCESSES[name].secrets]
    for each in own:
        (tmp_path / each.lower()).write_text(VALUE)
    environment = dict.fromkeys(own, VALUE) | {"PATH": "/bin", "TRADING_LOG_LEVEL": "INFO"}
    environment[SECRETS_DIR_VARIABLE] = str(tmp_path)
    refuse_what_is_not_ours(name, environment)
    (tmp_path / "somebody-elses.pem").write_text(VALUE)
    with pytest.raises(SecretNotAllowed, match=r"somebody-elses\.pem"):
        refuse_what_is_not_ours(name, environment)


@pytest.mark.parametrize(("name", "variable"), NOT_OURS)
def test_a_secret_of_another_is_refused_in_any_case(name: str, variable: str) -> None:
    """pydantic-settings reads a setting's variable in any case."""
    for written in (variable.lower(), variable.title()):
        with pytest.raises(SecretNotAllowed, match=written):
            refuse_what_is_not_ours(name, {written: VALUE})


@pytest.mark.parametrize(
    "hidden",
    [
        ".trading_broker_key", ".other/trading_broker_key", "trading_database_password/trading_broker_key",
        "..data/trading_broker_key", "..data/trading_database_password/trading_broker_key",
    ],
)  # fmt: skip
def test_nothing_hides_in_the_folder_of_secrets(hidden: str, tmp_path: Path) -> None:
    file = tmp_path / hidden
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(VALUE)
    with pytest.raises(SecretNotAllowed, match="the folder of secrets"):
        refuse_what_is_not_ours("risk", {SECRETS_DIR_VARIABLE: str(tmp_path)})


def test_a_volume_of_kubernetes_is_looked_through(tmp_path: Path) -> None:
    """Its files are links to ``..data/NAME``, and that is a link to a folder named by its time."""
    volume = tmp_path / "volume"
    kept = volume / "..2026_11_26_12_00_00.1"
    kept.mkdir(parents=True)
    (kept / "trading_database_password").write_text(VALUE)
    (volume / "..data").symlink_to(kept.name)
    (volume / "trading_database_password").symlink_to("..data/trading_database_password")
    environment = {SECRETS_DIR_VARIABLE: str(volume)}
    refuse_what_is_not_ours("risk", environment)
    (kept / "trading_broker_key").write_text(VALUE)
    with pytest.raises(SecretNotAllowed, match="trading_broker_key"):
        refuse_what_is_not_ours("risk", environment)
    (kept / "trading_broker_key").unlink()
    (tmp_path / "elsewhere").mkdir()
    (volume / "..more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SecretNotAllowed, match="more"):
        refuse_what_is_not_ours("risk", environment)


@pytest.mark.parametrize("user", ["trading", "ti_execution", "ti_risk_2", "TI_RISK", ""])
def test_the_role_of_another_is_refused(user: str) -> None:
    url = SecretStr(f"postgresql://{user}:{VALUE}@127.0.0.1:5432/trading")
    settings = RiskSettings(database_url=url, temporal_address="127.0.0.1:7233", **BOTH)
    with pytest.raises(SecretNotAllowed, match="ti_risk") as refused:
        refuse_another_role("risk", settings)
    assert VALUE not in str(refused.value)


def test_the_password_comes_from_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "trading_database_password").write_text("p@ss/word\n")
    monkeypatch.setenv(SECRETS_DIR_VARIABLE, str(tmp_path))
    monkeypatch.setenv("TRADING_DATABASE_URL", "postgresql://ti_risk@127.0.0.1:5432/trading")
    monkeypatch.setenv("TRADING_TEMPORAL_ADDRESS", "127.0.0.1:7233")
    monkeypatch.setenv("TRADING_MARKET_SPEED", "")
    for name, value in BOTH.items():
        monkeypatch.setenv(f"{ENV_PREFIX}{name.upper()}", value.get_secret_value())
    settings = read_settings(RiskSettings)
    assert settings.dsn == "postgresql://ti_risk:p%40ss%2Fword@127.0.0.1:5432/trading"
    assert settings.market_speed == 1.0
    assert "p@ss" not in repr(settings)
    refuse_another_role("risk", settings)


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1/x", "postgresql://a:b@127.0.0.1/x"])
def test_a_password_without_a_user_or_a_second_one_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="TRADING_DATABASE_URL"):
        with_password(SecretStr(url), SecretStr(VALUE))


@pytest.mark.parametrize(
    ("name", "variable"), [("risk", "TRADING_BROKER_KEY"), ("orders", "TRADING_DATABASE_URL")]
)
def test_the_process_ends_with_one_line(name: str, variable: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "workers.run", name], capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], variable: VALUE},
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"{name} may not hold {variable} (found in the environment): refusing to start\n"


def test_the_page_about_configuration_is_what_the_settings_say() -> None:
    assert FILE.read_text() == document(), "make docs"
