"""A folder as the store of checkpoints: what of it is its own, beside the cases for every store."""

import os
from pathlib import Path

import pytest

from audit.seal.targets import DirectoryTarget, TargetUnavailable, checkpoint_name, open_target


async def test_a_writer_that_dies_before_the_link_leaves_nothing_under_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    target = DirectoryTarget(tmp_path)
    monkeypatch.setattr(os, "link", die)
    with pytest.raises(Killed):
        await target.put(checkpoint_name(1), b"a")
    monkeypatch.undo()
    assert await target.get(checkpoint_name(1)) is None
    assert await target.names("checkpoints/") == []
    (tmp_path / "checkpoints" / f".{1:020d}.of-one-who-was-killed").write_bytes(b"hal")
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
    target = DirectoryTarget(tmp_path / "new")
    await target.put(checkpoint_name(1), b"a")
    assert acts == ["folder", "folder", "file", "link", "folder"]
    acts.clear()
    await target.put(checkpoint_name(1), b"a")
    assert acts == ["folder"], "who wrote it may have died before it synced"


async def test_a_place_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where a folder must be")
    target = DirectoryTarget(tmp_path)
    for act in (
        target.put(checkpoint_name(1), b"a"),
        target.get(checkpoint_name(1)),
        target.names("checkpoints/"),
    ):
        with pytest.raises(TargetUnavailable, match=str(tmp_path)):
            await act


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", ".hidden", "a/.b", "a/"])
async def test_no_name_leads_out_of_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        await DirectoryTarget(tmp_path).put(name, b"a")


@pytest.mark.parametrize("place", ["", "audit", "file:///audit", "ftp://audit"])
def test_a_setting_that_is_no_place_is_refused(place: str) -> None:
    with pytest.raises(ValueError, match="absolute path"):
        open_target(place)
