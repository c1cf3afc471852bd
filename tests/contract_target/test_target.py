"""Numbered cases for every store of checkpoints: a name is written once, whole, and stays."""

import asyncio

import pytest

from audit.seal.targets import (
    CHECKPOINTS,
    KEY,
    CheckpointTarget,
    ContentDiffers,
    checkpoint_name,
    consistency_name,
    leaves_name,
)


async def test_01_what_is_written_is_read(target: CheckpointTarget) -> None:
    for name, content in (
        (KEY, b"log+00000000+x\n"), (leaves_name(0, 3), bytes(96)), (consistency_name(1, 3), b""),
        (checkpoint_name(3), "\N{EM DASH} signed\n".encode()),
    ):  # fmt: skip
        await target.put(name, content)
        assert await target.get(name) == content


async def test_02_what_is_not_there_is_none(target: CheckpointTarget) -> None:
    assert await target.get(checkpoint_name(1)) is None
    assert await target.names(CHECKPOINTS) == []
    await target.put(checkpoint_name(1), b"a")
    assert await target.get(checkpoint_name(2)) is None


async def test_03_the_same_again_is_harmless(target: CheckpointTarget) -> None:
    for _ in range(3):
        await target.put(checkpoint_name(1), b"a")
    assert await target.get(checkpoint_name(1)) == b"a"
    assert await target.names(CHECKPOINTS) == [checkpoint_name(1)]


@pytest.mark.parametrize("other", [b"", b"b", b"ab", b"A"])
async def test_04_another_content_is_refused_and_the_first_stays(
    target: CheckpointTarget, other: bytes
) -> None:
    await target.put(checkpoint_name(1), b"a")
    with pytest.raises(ContentDiffers, match="0001 stands outside"):
        await target.put(checkpoint_name(1), other)
    assert await target.get(checkpoint_name(1)) == b"a"


async def test_05_names_come_in_the_order_of_their_numbers(target: CheckpointTarget) -> None:
    sizes = (100, 9, 2**62, 1, 10)
    for size in sizes:
        await target.put(checkpoint_name(size), b"a")
        await target.put(leaves_name(0, size), b"a")
    in_order = [checkpoint_name(size) for size in sorted(sizes)]
    assert await target.names(CHECKPOINTS) == in_order
    assert await target.names(CHECKPOINTS, after=checkpoint_name(9)) == in_order[2:]
    assert await target.names(CHECKPOINTS, after=checkpoint_name(11)) == in_order[3:]
    assert await target.names(CHECKPOINTS, after=in_order[-1]) == []
    assert await target.names("leaves/") == [leaves_name(0, size) for size in sorted(sizes)]


async def test_06_of_many_who_write_one_name_one_wins_whole(target: CheckpointTarget) -> None:
    contents = [bytes([number]) * 50_000 for number in range(8)]
    told = await asyncio.gather(
        *(target.put(checkpoint_name(1), each) for each in contents), return_exceptions=True
    )
    won = [content for content, error in zip(contents, told, strict=True) if error is None]
    assert [await target.get(checkpoint_name(1))] == won
    assert {type(error) for error in told if error is not None} == {ContentDiffers}


async def test_07_of_many_who_write_the_same_all_win(target: CheckpointTarget) -> None:
    await asyncio.gather(*(target.put(leaves_name(0, 1), bytes(32)) for _ in range(8)))
    assert await target.names("leaves/") == [leaves_name(0, 1)]
