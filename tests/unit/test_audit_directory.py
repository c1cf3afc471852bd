"""A folder as a store: what of it is its own, beside the cases for every store."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from audit.seal.targets import checkpoint_name
from audit.store.directory import DirectoryStore
from audit.store.opening import LOCKED_FOR, S3Access, open_store
from audit.store.port import StoreUnavailable
from audit.store.s3 import S3Store
from workers.clients import audit_store
from workers.settings import AuditSettings, RetentionSettings


async def test_a_writer_that_dies_before_the_link_leaves_nothing_under_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    target = DirectoryStore(tmp_path)
    monkeypatch.setattr(os, "link", die)
    with pytest.raises(Killed):
        await target.put(checkpoint_name(1), b"a")
    monkeypatch.undo()
    assert await target.get(checkpoint_name(1)) is None
    assert await target.names("checkpoints/") == []
    await target.put(checkpoint_name(1), b"a")
    assert await target.names("checkpoints/") == [checkpoint_name(1)]


async def test_everything_is_synced_before_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts: list[str] = []
    sync, link = os.fsync, os.link

    def synced(descriptor: int) -> None:
        acts.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        sync(descriptor)

    def linked(source: Path, path: Path) -> None:
        acts.append("link")
        link(source, path)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    target = DirectoryStore(tmp_path / "new")
    await target.put(checkpoint_name(1), b"a")
    assert acts == ["file", "link", "folder", "folder"], "its own folder, and the one in which that is new"
    acts.clear()
    await target.put(checkpoint_name(1), b"a")
    assert acts == ["folder"], "who wrote it may have died before it synced"


async def test_a_place_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where a folder must be")
    target = DirectoryStore(tmp_path)
    for act in (
        target.put(checkpoint_name(1), b"a"),
        target.get(checkpoint_name(1)),
        target.names("checkpoints/"),
    ):
        with pytest.raises(StoreUnavailable, match=str(tmp_path)):
            await act


@pytest.mark.parametrize(
    "place",
    ["", "audit", "file:///audit", "ftp://audit", "s3://", "s3://a", "s3://Bucket/x", "s3://bucket/a b"],
)
def test_a_setting_that_is_no_place_is_refused(place: str) -> None:
    with pytest.raises(ValueError, match="absolute path"):
        open_store(place, S3Access("eu-central-1"))


def test_a_bucket_is_a_place_with_keys_and_locks_for_seven_years() -> None:
    with pytest.raises(ValueError, match="needs an access key"):
        open_store("s3://our-bucket/audit/", S3Access("eu-central-1"))
    access = S3Access("eu-central-1", None, SecretStr("key"), SecretStr("hidden"))
    store = open_store("s3://our-bucket/audit/", access)
    assert isinstance(store, S3Store)
    assert store.place == "s3://our-bucket/audit/"
    assert store._settings.locked_for == LOCKED_FOR
    assert open_store("/var/lib/audit", access).place == "/var/lib/audit"


def test_an_installation_is_told_of_a_bucket_with_its_keys_or_not_at_all() -> None:
    told = {"audit_key": "00" * 32, "audit_target": "s3://our-bucket/audit"}
    with pytest.raises(ValidationError, match="TRADING_AUDIT_S3_KEY and TRADING_AUDIT_S3_SECRET"):
        AuditSettings.model_validate({**told, "audit_s3_key": "id", "audit_s3_secret": " "})
    keys = {"audit_s3_key": "id", "audit_s3_secret": "hidden", "audit_s3_endpoint": "http://127.0.0.1:9000"}
    settings = AuditSettings.model_validate(told | keys)
    assert "hidden" not in repr(settings)
    assert audit_store(settings).place == "s3://our-bucket/audit/ at http://127.0.0.1:9000"
    with pytest.raises(ValidationError, match="without TLS"):
        AuditSettings.model_validate(told | keys | {"audit_s3_endpoint": "http://elsewhere.example"})
    for days in (0, 29):
        with pytest.raises(ValidationError, match="greater than or equal to 30"):
            RetentionSettings.model_validate({"retention_days": days})
