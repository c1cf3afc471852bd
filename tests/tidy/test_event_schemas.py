"""docs/schemas/ is what the payload models say, and may follow every version of it that was ever committed."""

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas.compatibility import incompatibilities
from schemas.event_documents import ASYNCAPI_FILE, asyncapi, documents, schema_file, topic_schema
from schemas.events import PAYLOADS
from schemas.wire import Topic
from tests.tidy.tree import ROOT
from workers.event_schemas import FOLDER, breaking_changes, main, text_of


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_files_are_made_from_the_models() -> None:
    assert {file.name for file in FOLDER.iterdir()} == documents().keys(), "make docs"
    for name, document in documents().items():
        assert (FOLDER / name).read_text("utf-8") == text_of(document), f"{name} is out of date: make docs"


def test_every_topic_has_a_payload_and_a_schema_that_is_one() -> None:
    assert PAYLOADS.keys() == set(Topic)
    for topic in PAYLOADS:
        jsonschema.Draft202012Validator.check_schema(topic_schema(topic))


def test_every_version_ever_committed_may_be_followed_by_this_one() -> None:
    """As far as this clone's history goes: a file that was edited by hand is found out by its ancestors."""
    found = []
    history = git("log", "--format=%H", "--", FOLDER.relative_to(ROOT).as_posix()).split()
    for commit in history:
        for name in git("ls-tree", "--name-only", commit, "docs/schemas/").split():
            topic = Path(name).stem
            if Path(name).name == ASYNCAPI_FILE:
                continue
            assert topic in set(Topic), f"{topic}: the topic was removed, it was there in {commit[:12]}"
            old: dict[str, Any] = json.loads(git("show", f"{commit}:{name}"))
            found += incompatibilities(topic, old, topic_schema(Topic(topic)))
    assert not found, "\n" + "\n".join(sorted(set(found)))


def test_what_would_break_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How: the files there know a field, and a topic, that the models do not."""
    for name, document in documents().items():
        (tmp_path / name).write_text(text_of(document))
    assert breaking_changes(tmp_path) == []
    file = tmp_path / schema_file(Topic.EXECUTION_FILL)
    richer = json.loads(file.read_text())
    richer["properties"]["venue"] = {"type": "string"}
    file.write_text(json.dumps(richer))
    (tmp_path / "trading.gone.json").write_text("{}")
    before = file.read_text()
    assert main([str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "trading.execution.fill: venue was removed" in told
    assert "trading.gone: the topic was removed" in told
    assert file.read_text() == before


def test_the_asyncapi_document_holds_together() -> None:
    """Every reference leads somewhere, and each topic is a channel with its message."""
    document = asyncapi()
    references: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            references.extend(each for key, each in value.items() if key == "$ref")
            value = list(value.values())
        if isinstance(value, list):
            for each in value:
                collect(each)

    collect(document)
    for reference in references:
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in found, reference
            found = found[part]
    assert document["channels"].keys() == set(Topic)
    assert {each["name"] for each in document["components"]["messages"].values()} == set(Topic)
