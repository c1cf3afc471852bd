"""The secrets of an installation: made once, kept for ever, readable by whom they must be."""

import json
from pathlib import Path

from security.grants import GrantKey
from workers.keys import CONTAINER_READABLE_MODE, main, make_missing

NAMES = ("ti_risk_password", "demo_token", "operator_public_key")


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first = make_missing(folder, NAMES)
    assert len(set(first.values())) == len(NAMES)
    (folder / "demo_token").write_text("given by a person\n")
    again = make_missing(folder, (*NAMES, "ti_console_password"))
    assert again["demo_token"] == "given by a person"
    assert {name: again[name] for name in NAMES if name != "demo_token"} == {
        name: first[name] for name in NAMES if name != "demo_token"
    }
    assert folder.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir() if file.name in first)


def test_the_public_key_is_the_operators(tmp_path: Path) -> None:
    made = make_missing(tmp_path, ["operator_public_key"])
    key = GrantKey.from_file(tmp_path / "operator.json")
    assert (key.owner, key.public_key.hex()) == ("operator", made["operator_public_key"])
    private = json.loads((tmp_path / "operator.json").read_text())["private_key"]
    assert GrantKey.from_hex(private, "operator").key_id == key.key_id


def test_for_compose_every_secret_of_the_file_is_made(tmp_path: Path) -> None:
    """Files can be read in a container by whoever may mount them; the folder keeps others of this machine out."""
    folder = tmp_path / ".secrets"
    assert main([str(folder)]) == 0
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "operator.json").stat().st_mode & 0o777 == 0o600
    made = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
    del made["operator.json"]
    assert set(made.values()) == {CONTAINER_READABLE_MODE}
    assert "temporal_database_password" in made
    assert main([]) == 2
