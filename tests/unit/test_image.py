"""The Dockerfile: what the image is built of, by whom it runs, and what is not in it."""

import re
import tomllib
from pathlib import Path

import yaml

from tests.servers.processes import REPOSITORY as ROOT
from workers.compose import FILE, load

RAW = yaml.safe_load(FILE.read_text())["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_image_is_pinned_and_small_in_rights() -> None:
    assert re.search(r"^ARG BASE=python:\d+\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]
    build, final = DOCKERFILE.split("\nFROM ${BASE}\n")
    installs = re.findall(r"\bpip\S*(?: --python \S+)? install (.*)", build)
    assert installs
    assert all("--require-hashes" in each or "--no-deps --no-compile /wheel" in each for each in installs)
    assert re.search(r"^USER trading$", final, re.MULTILINE)
    assert not re.search(r"\b(apt-get|pip install|curl|gcc)\b", final)
    assert re.findall(r"^COPY (.*)", final, re.MULTILINE) == ["--from=build /opt/trading /opt/trading"]
    assert "syntax=" not in DOCKERFILE, "a frontend by a tag that moves would build it"
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", ".secrets", ".venv", "tests"} <= set(ignored)


def test_what_a_service_of_ours_writes_to_is_its_users_own() -> None:
    """A new volume takes the owner of the folder that it covers; one that the image has not is root's."""
    made = set(re.findall(r"install -d -o trading -g trading ([^\n&]*)", DOCKERFILE)[0].split())
    written = {
        mount.split(":")[1]
        for service in load(environ={}).services.values()
        for mount in RAW[service.name].get("volumes", ())
        if not mount.startswith("./") and not mount.endswith(":ro")
    }
    assert written == made


def test_the_image_has_every_library_that_running_needs_and_no_server_or_builder() -> None:
    """How: the Dockerfile's own awk programs, done here as it does them, on the lock file."""
    skip, keep = re.findall(r"(?:skip|keep) = /\^\(([^)]*)\)==/", DOCKERFILE)
    pins = re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    left_out = set(skip.split("|"))
    assert left_out <= set(pins), "what is left out is in the lock"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = {name_of(each) for each in (*project["dependencies"], *extras["aws"], *extras["vault"])}
    assert needed <= set(pins) - left_out
    assert {name_of(each) for each in extras["embedded"]} <= left_out
    assert "hatchling" in keep.split("|")
    assert "hatchling" in left_out


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return found[0].lower()


def test_nothing_that_is_copied_is_missing() -> None:
    for line in re.findall(r"^COPY (?!--from)(.*)", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / Path(each)).exists() for each in sources), line
