"""What is deployed: docker-compose.temporal.yml by the Compose schema, and all that it names.

No container runs here, so each name is held against the thing that it means: code, files, settings, docs.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from console.addresses import VARIABLES
from console.audit_outside import TARGET_VARIABLE
from console.kill_direct import BROKER_URL_VARIABLE
from workers import temporal
from workers.compose import FILE, OUR_IMAGE
from workers.configuration import document
from workers.run import RUNNERS
from workers.settings import ENV_PREFIX, PROCESSES

ROOT = FILE.parent
RAW: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = RAW["services"]
SCHEMA = json.loads((ROOT / "tests/vendor/compose-spec/compose-spec.json").read_text())
RUNBOOK = (ROOT / "docs/RUNBOOK.md").read_text()
CONTAINERS = RUNBOOK.split("\n## Containers\n")[1].partition("\n## ")[0]
OURS = {name for name, each in SERVICES.items() if each["image"].startswith(OUR_IMAGE)}
LISTENS = {
    "gateway": {8080}, "console": {8081}, "paper-exchange": {8085}, "database": {5432}, "temporal-database": {5432},
    "temporal": {7233, 8000}, "temporal-ui": {8080}, "valkey": {6379}, "prometheus": {9090}, "alertmanager": {9093},
    "grafana": {3000}, "codec": {8088, 9464},
    **{name: {9464} for name in ("orders", "risk", "execution", "operations")},
}  # fmt: skip
"""Ports by service, as each image or setting has them."""
LIVE_MODE = "LIVE_MODE"
OF_TEMPORALS_UI = {"TEMPORAL_CODEC_ENDPOINT"}
"""Named as its image names them; docs/SECURITY.md tells of them."""
MONITORS = {"prometheus", "alertmanager", "grafana"}
WAYS_OUT = {"outside": {"execution", "operations"}, "tells": {"alertmanager"}}
NAME_AND_PORT = re.compile(r"\b([a-z][a-z-]+):(\d{4,5})\b")
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)")


def networks(name: str) -> set[str]:
    return set(SERVICES[name]["networks"])


def texts(value: Any) -> Iterator[str]:
    """Every text of a service that may name another, its own health check left out."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key != "healthcheck":
                yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def wrong(document: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return [f"{list(each.absolute_path)}: {each.message}" for each in validator.iter_errors(document)]


def test_it_is_a_compose_file() -> None:
    assert wrong(RAW) == []


@pytest.mark.parametrize(
    "broken",
    [
        {"services": {"a": {"image": "x", "restarts": "always"}}},
        {"services": {"a": {"image": "x", "healthcheck": {"test": "true", "every": "5s"}}}},
        {"services": {"a": {"image": "x", "depends_on": {"b": {"condition": "up"}}}}},
        {"networks": {"a": {"interned": True}}},
    ],
)
def test_the_schema_is_awake(broken: dict[str, Any]) -> None:
    assert wrong(broken) != []


def test_who_can_reach_the_world() -> None:
    """Every other network is internal, or lets nothing find its way back."""
    for name, each in RAW["networks"].items():
        if name in WAYS_OUT:
            assert {service for service in SERVICES if name in networks(service)} == WAYS_OUT[name], name
            continue
        options = each.get("driver_opts", {})
        untranslated = options.get("com.docker.network.bridge.enable_ip_masquerade") == "false"
        assert each.get("internal") is True or untranslated, f"{name} is a way out"
    assert {name for each in SERVICES for name in networks(each)} == RAW["networks"].keys()


def test_who_has_a_door_is_on_a_network_that_can_have_one() -> None:
    inner = {name for name, each in RAW["networks"].items() if each.get("internal")}
    for name, service in SERVICES.items():
        assert not service.get("ports") or networks(name) - inner, (
            f"{name}: an internal network publishes nothing"
        )


def test_no_database_and_not_temporal_has_a_door() -> None:
    published = {name for name, each in SERVICES.items() if each.get("ports")}
    assert not published & {"database", "temporal-database", "temporal", "valkey"}
    assert not published & {"execution", "operations", "risk", "orders"}, "workers are asked by nobody"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_a_service_names_listens_there_and_can_be_reached(name: str) -> None:
    for text in texts(SERVICES[name]):
        for other, port in NAME_AND_PORT.findall(text):
            if other in SERVICES and other != name:
                assert int(port) in LISTENS[other], f"{other} does not listen on {port}"
                assert networks(name) & networks(other), f"{name} is on no network with {other}"


def test_what_prometheus_and_grafana_name_can_be_reached() -> None:
    for name in ("prometheus", "grafana"):
        for file in (ROOT / "deploy" / name).rglob("*.yml"):
            if "tests" in file.parts:
                continue
            named = yaml.safe_load(file.read_text())
            found = {other for text in texts(named) for other, _ in NAME_AND_PORT.findall(text)}
            found |= {each for each in texts(named) if each in SERVICES}
            for other in found & SERVICES.keys() - {name}:
                assert networks(name) & networks(other), f"{file.name}: {name} is on no network with {other}"


def test_settings_of_ours_listen_where_the_file_says() -> None:
    for name in OURS & LISTENS.keys() - {"paper-exchange"}:
        told = SERVICES[name]["environment"]
        ports = {int(value) for variable, value in told.items() if variable.endswith("_PORT")}
        assert ports == LISTENS[name], name


def test_every_door_is_on_this_machine_and_documented() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            address, outer, inner = port.split(":")
            assert address == "127.0.0.1", name
            assert int(inner) in LISTENS[name], f"{name} does not listen on {inner}"
            assert re.search(rf"^\|.*\| {outer} \|$", CONTAINERS, re.MULTILINE), (
                f"{name}: {outer} is in no doc"
            )


def test_every_image_is_pinned_and_documented() -> None:
    for name, service in SERVICES.items():
        image, _, tag = service["image"].rpartition(":")
        assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?", tag), f"{name}: {tag} is no exact version"
        shown = f"`{image}`" if name in OURS else f"`{image}:{tag}`"
        assert shown in CONTAINERS, f"{shown} is not in docs/RUNBOOK.md"
        assert name not in OURS or f"`{name}`" in CONTAINERS, name


def test_temporal_is_the_version_that_is_tested_and_finds_its_dynamic_configuration() -> None:
    """Its image has no such file, and the server refuses to start without one."""
    told = subprocess.run([temporal.find_program(), "--version"], capture_output=True, text=True, check=True)
    server, ui = re.findall(r"(?:Server|UI) ([0-9.]+)", told.stdout)
    for name, version in (
        ("server", server), ("admin-tools", server), ("ui", ui),
    ):  # fmt: skip
        used = {each["image"] for each in SERVICES.values() if f"temporalio/{name}:" in each["image"]}
        assert used == {f"temporalio/{name}:{version}"}
    service = SERVICES["temporal"]
    source, target, _ = service["volumes"][0].split(":")
    file = Path(service["environment"]["DYNAMIC_CONFIG_FILE_PATH"])
    assert file.is_relative_to(target)
    assert yaml.safe_load((ROOT / source / file.relative_to(target)).read_text()) is None, "the defaults"


def test_a_temporal_that_is_made_anew_does_not_wait_for_the_addresses_of_the_former_one() -> None:
    told = SERVICES["temporal"]["environment"]
    assert (told["BIND_ON_IP"], told["TEMPORAL_BROADCAST_ADDRESS"]) == ("0.0.0.0", "127.0.0.1")


def test_every_variable_is_a_setting_that_is_documented() -> None:
    settings = {
        ENV_PREFIX + each.upper() for kind in PROCESSES.values() for each in kind.settings.model_fields
    }
    page = document()
    for variable in set(VARIABLE.findall(FILE.read_text())) - OF_TEMPORALS_UI:
        setting = setting_of(variable)
        assert setting in settings, f"{variable} is no setting"
        assert f"`{setting}`" in page, variable
    for name in OURS:
        for variable in SERVICES[name].get("environment", {}):
            assert f"`{variable}`" in page, f"{name}: {variable} is not in docs/CONFIGURATION.md"


def test_who_speaks_to_temporal_encrypts_and_reads_what_is_encrypted() -> None:
    """The command line is none of our processes, and finds the keys by a name of its own."""
    speak = {name for name in OURS if "TRADING_TEMPORAL_ADDRESS" in SERVICES[name].get("environment", {})}
    assert "cli" in speak
    for name in speak:
        given = SERVICES[name]["environment"]
        assert given["TRADING_PAYLOADS"] == "${TRADING_PAYLOADS:-encrypted}", name
        assert "trading_payload_keys" in {each["target"] for each in SERVICES[name]["secrets"]}, name
    told = SERVICES["cli"]["environment"]
    assert told[VARIABLES["payload_keys_file"]] == "/run/secrets/trading_payload_keys"
    own = {"TRADING_SECRETS_DIR", f"{ENV_PREFIX}{LIVE_MODE}", TARGET_VARIABLE}
    assert told.keys() - own <= set(VARIABLES.values())


def test_whoever_is_on_call_can_check_the_audit_log_and_cancel_at_the_broker() -> None:
    """The one where the checkpoints are; the other where broker keys and the way to the broker are."""
    cli, execution = SERVICES["cli"], SERVICES["execution"]
    assert f"audit:{cli['environment'][TARGET_VARIABLE]}:ro" in cli["volumes"]
    assert "run --rm --no-deps execution trading kill --direct" in CONTAINERS
    assert {BROKER_URL_VARIABLE, "TRADING_DATABASE_URL", "TRADING_SECRET_SOURCE"} <= execution[
        "environment"
    ].keys()
    assert {"trading_broker_key", "trading_broker_secret"} <= {
        each["target"] for each in execution["secrets"]
    }
    assert {"data", "market", "outside"} <= networks("execution")


def setting_of(variable: str) -> str:
    """A value of one service alone has the service in its name; live mode has a short name too."""
    if variable == LIVE_MODE:
        return ENV_PREFIX + LIVE_MODE
    for name in OURS:
        variable = variable.replace(f"{ENV_PREFIX}{name.upper()}_VAULT", f"{ENV_PREFIX}VAULT")
    return variable


def test_every_command_is_one_of_ours() -> None:
    for name in OURS - {"paper-exchange", "cli"}:
        assert SERVICES[name]["command"] == ["trading", "worker", name]
        assert name in RUNNERS
    assert SERVICES["paper-exchange"]["command"][:2] == ["trading", "exchange"]
    assert SERVICES["cli"]["entrypoint"] == ["trading"]


def test_what_is_mounted_is_there_and_every_volume_is_used() -> None:
    used = set()
    for name, service in SERVICES.items():
        for mount in service.get("volumes", ()):
            source, target, *how = mount.split(":")
            assert target.startswith("/"), name
            if source.startswith("./"):
                assert (ROOT / source).exists(), f"{name}: {source} is not there"
                assert how == ["ro"], f"{name} may not write {source}"
            else:
                used.add(source)
    assert used == RAW["volumes"].keys()


def test_every_secret_is_used() -> None:
    used = {
        each if isinstance(each, str) else each["source"]
        for service in SERVICES.values()
        for each in service.get("secrets", ())
    }
    assert used == RAW["secrets"].keys()


def test_what_runs_is_watched_and_what_ends_is_not() -> None:
    for name, service in SERVICES.items():
        if service["restart"] == "unless-stopped":
            assert "healthcheck" in service, name
        else:
            assert "healthcheck" not in service, name
            assert service["restart"] in ("no", "on-failure:3", "on-failure:10"), name


def test_every_log_has_a_bound() -> None:
    for name, service in SERVICES.items():
        logs = service.get("logging", {})
        assert logs.get("driver") == "local", name
        assert logs["options"] == {"max-size": "16m", "max-file": "6"}, name


def test_traces_can_be_switched_on_for_whoever_reaches_a_collector() -> None:
    send = {name for name in OURS if "TRADING_OTLP_ENDPOINT" in SERVICES[name].get("environment", {})}
    assert send == {name for name in OURS if "watch" in networks(name)}
    for name in send:
        assert SERVICES[name]["environment"]["TRADING_OTLP_ENDPOINT"] == "${TRADING_OTLP_ENDPOINT:-}"
    assert SERVICES["console"]["environment"]["TRADING_TRACE_URL"] == "${TRADING_TRACE_URL:-}"
    for name in OURS - {"cli", "paper-exchange"}:
        assert SERVICES[name]["environment"]["TRADING_LOG_LEVEL"] == "${TRADING_LOG_LEVEL:-}", name


def test_ours_cannot_write_outside_their_volumes_nor_gain_rights() -> None:
    for name in OURS | (MONITORS & SERVICES.keys()):
        service = SERVICES[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
