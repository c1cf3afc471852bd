"""docker-compose.temporal.yml: what it promises, read by the reader that starts it natively."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.builds import BUILD_PATTERN, VERSIONED
from security.secrets.settings import LETS_IN
from storage.grants import Role
from workers.build_id import PACKAGES, own_build
from workers.compose import FILE, OUR_IMAGE, ComposeError, Service, load
from workers.datadir import DataDir
from workers.native import Native
from workers.postgres import SETTINGS
from workers.roles import GRACE
from workers.settings import ENV_PREFIX, PROCESSES, SECRETS_DIR_VARIABLE, is_secret
from workers.temporal import NAMESPACE, RETENTION_SECONDS, SEARCH_ATTRIBUTES
from workers.up import Installation

COMPOSE = load(environ={})
RAW: dict[str, Any] = yaml.safe_load(FILE.read_text())
WORKERS = [name for name in COMPOSE.services if name in PROCESSES]
DONE = "service_completed_successfully"
ONCE = ("migrate", "promote")


def test_every_process_but_compact_is_a_service() -> None:
    assert set(WORKERS) == PROCESSES.keys() - {"compact"}
    assert COMPOSE.services.keys() - PROCESSES.keys() == {"paper-exchange"}


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_given_its_own_secrets_as_files_and_every_setting_by_its_name(name: str) -> None:
    service, process = COMPOSE.services[name], PROCESSES[name]
    assert service.command == ("trading", "worker", name)
    files = {each.removeprefix(ENV_PREFIX.lower()) for each in service.secrets}
    assert files - LETS_IN == process.secrets - {"database_url"} - LETS_IN, (
        "what it may hold, no more and no less"
    )
    holds_keys = "broker_key" in process.secrets
    assert files & LETS_IN == ({"vault_secret_id"} if holds_keys else set()), "how it is let into a store"
    fields = process.settings.model_fields
    for variable in service.environment.keys() - {SECRETS_DIR_VARIABLE}:
        setting = variable.removeprefix(ENV_PREFIX).lower()
        assert setting in fields, f"{variable} is no setting of {name}"
        assert setting == "database_url" or not is_secret(fields[setting].annotation), variable
    given = {variable.removeprefix(ENV_PREFIX).lower() for variable in service.environment} | files
    assert {field for field, info in fields.items() if info.is_required()} <= given


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_connects_as_its_role_and_no_address_holds_a_password(name: str) -> None:
    service, role = COMPOSE.services[name], PROCESSES[name].role
    url = service.environment.get("TRADING_DATABASE_URL")
    if role is None:
        assert url == ("postgresql://trading@database:5432/trading" if name == "migrate" else None)
        return
    assert url == f"postgresql://{role}@database:5432/trading"
    assert service.secrets["trading_database_password"] == f"{role}_password"


def test_no_two_roles_share_a_password_and_every_role_gets_one() -> None:
    passwords = {
        (PROCESSES[name].role, source)
        for name in WORKERS
        for target, source in COMPOSE.services[name].secrets.items()
        if target == "trading_database_password"
    }
    assert len(passwords) == len({source for _, source in passwords})
    given = set(COMPOSE.services["migrate"].secrets.values())
    assert {f"{role}_password" for role in Role} <= given


def test_it_listens_on_this_machine_only_and_runs_this_release() -> None:
    version = tomllib.loads((FILE.parent / "pyproject.toml").read_text())["project"]["version"]
    for name, service in RAW["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), (name, port)
        if name in COMPOSE.services:
            assert service["image"] == f"{OUR_IMAGE}{version}"


def test_no_secret_is_a_value() -> None:
    for name, service in RAW["services"].items():
        for variable, value in service.get("environment", {}).items():
            assert not variable.endswith(("PASSWORD", "_PWD", "_KEY", "_SECRET", "_TOKEN")), (name, variable)
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), (name, variable)
    assert all(each["file"] == f"./.secrets/{name}" for name, each in RAW["secrets"].items())
    assert ".secrets/" in (FILE.parent / ".gitignore").read_text().splitlines()


def test_workers_have_time_to_end_and_start_when_what_they_need_is_there() -> None:
    for name in WORKERS:
        service = COMPOSE.services[name]
        assert service.grace_seconds > GRACE.total_seconds()
        if name in ONCE:
            assert service.health is None
            continue
        assert service.health is not None
        assert service.needs["migrate"] == DONE
        if "TRADING_TEMPORAL_ADDRESS" in service.environment:
            assert service.needs["temporal-namespace"] == DONE
        assert RAW["services"][name]["restart"] == "unless-stopped"
    for name, service in RAW["services"].items():
        for need, how in service.get("depends_on", {}).items():
            healthy = "healthcheck" in RAW["services"][need]
            assert how["condition"] == ("service_healthy" if healthy else DONE), (name, need)


def test_the_namespace_is_the_embedded_ones() -> None:
    script = RAW["services"]["temporal-namespace"]["command"][0]
    assert f"--namespace {NAMESPACE} --retention {RETENTION_SECONDS // 3600}h" in script
    for name, kind in SEARCH_ATTRIBUTES.items():
        assert f" {name}={kind}" in script


def test_no_variable_is_left_as_it_was_written() -> None:
    for name, service in load(environ={}).services.items():
        assert not [value for value in service.environment.values() if "${" in value], name


def test_variables_are_replaced_as_compose_does() -> None:
    paper = {"TRADING_BROKER_TRADING_URL": "https://paper-api.alpaca.markets", "TRADING_DATA_URL": ""}
    with_alpaca = load(environ=paper | {"TRADING_SECONDARY_DATA_URL": ""}).services["execution"].environment
    assert with_alpaca["TRADING_BROKER_TRADING_URL"] == "https://paper-api.alpaca.markets"
    assert with_alpaca["TRADING_DATA_URL"] == "http://paper-exchange:8085", ":- fills in for an empty one"
    assert with_alpaca["TRADING_SECONDARY_DATA_URL"] == "", "- leaves an empty one empty"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("    command: [trading, worker, risk]\n", "    command: [x]\n    privileged: true\n", "privileged"),
        ("source: ti_risk_password", "source: nobodys_password", "nobodys_password"),
        ("stop_grace_period: 30s", "stop_grace_period: soon", "soon"),
        ("services:", "services: [", "no YAML"),
        ("services:", "service:", "services"),
    ],
)
def test_what_is_not_understood_is_an_error(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = FILE.read_text()
    assert old in text
    changed = tmp_path / "changed.yml"
    changed.write_text(text.replace(old, new))
    with pytest.raises(ComposeError, match=told):
        load(changed, environ={})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ComposeError, match=r"gone\.yml cannot be read"):
        load(tmp_path / "gone.yml")


def native(tmp_path: Path) -> Native:
    """With servers at ports that cannot be mistaken."""
    given = {("database", 5432): 1111, ("temporal", 7233): 2222}
    secrets = {name: f"the {name}" for name in COMPOSE.secrets}
    return Native(COMPOSE, DataDir(tmp_path), secrets, given, extra={"paper-exchange": ("--seed=7",)})


def placed(tmp_path: Path, name: str) -> tuple[Native, Service]:
    return native(tmp_path), COMPOSE.services[name]


def test_a_service_becomes_a_process_of_this_machine(tmp_path: Path) -> None:
    """Command, variables and secrets are the file's; names, ports and mounts are put in their place."""
    here, service = placed(tmp_path, "execution")
    spec = here.spec(service)
    folder = tmp_path / "keys" / "services" / "execution"
    exchange = here.port("paper-exchange", 8085)
    assert Path(spec.argv[0]).name == "trading"
    assert spec.argv[1:] == ("worker", "execution")
    assert spec.env.keys() == service.environment.keys() | {"TRADING_LOG_FILE"}
    assert spec.env["TRADING_DATABASE_URL"] == "postgresql://ti_execution@127.0.0.1:1111/trading"
    assert spec.env["TRADING_TEMPORAL_ADDRESS"] == "127.0.0.1:2222"
    assert spec.env["TRADING_BROKER_STREAM_URL"] == f"ws://127.0.0.1:{exchange}/stream"
    assert spec.env["TRADING_METRICS_HOST"] == "127.0.0.1"
    assert spec.env["TRADING_METRICS_PORT"] == str(here.port("execution", 9464))
    assert spec.env["TRADING_SECRETS_DIR"] == str(folder)
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        target: f"the {source}" for target, source in service.secrets.items()
    }
    assert folder.stat().st_mode & 0o077 == 0
    assert spec.grace_seconds == 30


def test_what_a_person_says_of_how_it_is_seen_reaches_the_services_that_take_it_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: a collector on this machine, where the file's own addresses are put at other ports."""
    said = {
        "TRADING_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        "TRADING_TRACE_URL": "http://localhost/{trace_id}",
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    installation = Installation(DataDir(tmp_path), exchange_options=(), as_json=True)
    assert installation.seen == said
    here = Native(COMPOSE, DataDir(tmp_path), dict.fromkeys(COMPOSE.secrets, ""), {
        ("database", 5432): 1111, ("temporal", 7233): 2222,
    }, extra={}, seen=installation.seen)  # fmt: skip
    for name in ("gateway", "orders", "risk", "execution", "operations", "console"):
        given = here.spec(COMPOSE.services[name]).env
        assert given["TRADING_OTLP_ENDPOINT"] == said["TRADING_OTLP_ENDPOINT"]
        assert given.get("TRADING_TRACE_URL") == (said["TRADING_TRACE_URL"] if name == "console" else None)


def test_the_exchange_keeps_its_files_and_gets_what_is_added(tmp_path: Path) -> None:
    here, service = placed(tmp_path, "paper-exchange")
    keys = tmp_path / "keys" / "services" / "paper-exchange"
    assert here.spec(service).argv[1:] == (
        "exchange", "--host=127.0.0.1", f"--port={here.port('paper-exchange', 8085)}",
        f"--data-dir={tmp_path / 'exchange'}", f"--key-file={keys / 'trading_broker_key'}",
        f"--secret-file={keys / 'trading_broker_secret'}", "--seed=7",
    )  # fmt: skip


def test_its_database_takes_as_many_sessions_as_the_one_that_is_tested() -> None:
    [told] = [each for each in RAW["services"]["database"]["command"] if each.startswith("max_connections=")]
    assert told == f"max_connections={SETTINGS['max_connections']}"


def test_new_work_goes_to_a_build_whose_workers_run() -> None:
    promote = COMPOSE.services["promote"]
    assert set(promote.needs.items()) == {(each.value, "service_healthy") for each in VERSIONED}
    given = {COMPOSE.services[each].environment["TRADING_BUILD_ID"] for each in ("promote", *VERSIONED)}
    assert len(given) == 1, "one image, one build"


def test_a_builds_name_follows_its_content_whatever_package_it_is_in() -> None:
    packages = tomllib.loads((FILE.parent / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert sorted(PACKAGES) == sorted(packages["targets"]["wheel"]["packages"])
    assert re.fullmatch(BUILD_PATTERN, own_build())
