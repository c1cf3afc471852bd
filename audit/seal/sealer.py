"""What one who leads does: seal, compare with what is outside, sign, publish.

Idempotent: each step reads the rows under the head's lock and goes on from there. So whoever takes over, however
the one before died, comes to the same leaves, roots, notes and objects. Nothing is signed before the newest
checkpoint outside was found to be the database's own.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from audit.seal.targets import CHECKPOINTS, KEY, checkpoint_name, consistency_name, leaves_name
from audit.seal.tree import BadFrontier, Tree
from audit.store.bounded import BoundedStore
from audit.store.port import ObjectDiffers, ObjectStore, StoreUnavailable
from observability.crash_points import calling
from schemas.audit import leaf_hash, leaf_text
from security.notes import NoteSigner, checkpoint_text
from storage import audit_sealing as rows
from storage.audit_sealing import Checkpoint
from storage.commits import committing

if TYPE_CHECKING:
    from storage.database import Connection

BATCH_MAX: Final = 1000
"""Rows in one sealing transaction: some ten milliseconds of this process."""
LEAVES_IN_OBJECT_MAX: Final = 65_536
"""2 MiB."""
PROOF_LOOK_SECONDS: Final = 5.0
"""Between two words of a session that waits for a proof."""


class Forked(Exception):
    """The database and what is outside it tell different histories. Nothing is sealed until a person has looked."""


class Sealer:
    """On connections that it is given; two of them at once do no harm."""

    def __init__(self, target: ObjectStore, signer: NoteSigner, *, now: Callable[[], datetime]) -> None:
        self._target = BoundedStore(target)
        self._signer = signer
        self._now = now

    async def publish_key(self, connection: Connection) -> None:
        """Whose signatures these are, before the first of them.

        Raises:
            Forked: another key's stands there.
            StoreUnavailable: also where checkpoints were written and no key is: another place, or an emptied one.
        """
        if await rows.newest_checkpoint(connection, published=True) is not None:
            await self._check_place(connection)
        with calling("audit.put_key"):
            await self._put(connection, KEY, f"{self._signer.vkey}\n".encode())

    async def _check_place(self, connection: Connection) -> None:
        """The key is written before the first checkpoint: a place without it is not mounted, or was emptied."""
        key = await self._target.get(KEY)
        await rows.keep_alive(connection)
        if key is None:
            raise StoreUnavailable(
                f"{self._target.place}: checkpoints were written there, and its file {KEY} is gone: "
                "it is not mounted, or was emptied"
            )

    async def seal(self, connection: Connection) -> int:
        """Give a batch of what waits its leaves: contiguous numbers, in one transaction.

        Returns:
            How many; ``BATCH_MAX`` where more may wait.

        Raises:
            Forked: what waits is not there, a leaf is where none was made, or the head is no tree.
        """
        if await rows.waiting_ids(connection) is None:
            # Nothing is locked or committed each second while nothing happens.
            return 0
        async with committing(connection, "audit.sealed"):
            tree = await self._locked_tree(connection)
            try:
                waiting = await rows.read_waiting(connection, BATCH_MAX)
                leaves = [leaf_hash(leaf_text(row)) for row in waiting]
                await rows.append_leaves(connection, tree.size, waiting, leaves)
            except (rows.RowGone, rows.LeafTaken) as error:
                raise Forked(str(error)) from error
            grown = tree.grown(leaves)
            await rows.grow_head(connection, grown.size, grown.root, grown.frontier)
        return len(waiting)

    async def compare(self, connection: Connection) -> None:
        """Return if the newest checkpoint outside is the database's own.

        One list and one read, whatever the sizes: what sorts behind the newest that is published here can only be
        what was signed here and not marked yet.

        Raises:
            Forked: it is not: the database was rolled back or replaced, or somebody wrote outside.
            StoreUnavailable: nothing is known; also where a checkpoint and the key with it are gone.
        """
        published = await rows.newest_checkpoint(connection, published=True)
        newest = "" if published is None else checkpoint_name(published.size)
        beyond = await self._target.names(CHECKPOINTS, after=newest or CHECKPOINTS)
        # Read after it was looked outside: whoever leads meanwhile signs here before it writes there.
        since = 0 if published is None else published.size
        known = {checkpoint_name(each.size): each for each in await rows.checkpoints_after(connection, since)}
        if strange := [name for name in beyond if name not in known]:
            raise Forked(
                f"outside stands {strange[-1]}, of which this database knows nothing: it was rolled back to "
                f"{newest or 'before its first checkpoint'}, or another writes there"
            )
        for each in (*([] if published is None else [published]), *(known[name] for name in beyond)):
            await self._compare_note(connection, each)

    async def _compare_note(self, connection: Connection, checkpoint: Checkpoint) -> None:
        name = checkpoint_name(checkpoint.size)
        told = await self._target.get(name)
        await rows.keep_alive(connection)
        if told is None:
            await self._check_place(connection)
        if told != checkpoint.note.encode():
            how = "is not there" if told is None else "has another content"
            raise Forked(f"{name}, which this database has signed, {how} outside")

    async def has_news(self, connection: Connection) -> bool:
        """Whether there is something to sign or to publish."""
        head = await rows.read_head(connection)
        return head.size > (head.checkpoint_size or 0)

    async def sign(self, connection: Connection) -> None:
        """Sign the tree as it stands, unless that was done.

        Raises:
            Forked: as `compare`, or the head is no tree.
        """
        await self.compare(connection)
        async with committing(connection, "audit.checkpoint_signed"):
            tree = await self._locked_tree(connection)
            newest = await rows.newest_checkpoint(connection, published=False)
            if newest is not None and newest.size > tree.size:
                raise Forked(f"checkpoint {newest.size} is larger than the tree of {tree.size} leaves")
            if tree.size and (newest is None or newest.size < tree.size):
                note = self._signer.sign(checkpoint_text(self._signer.name, tree.size, tree.root))
                made = Checkpoint(tree.size, tree.root, tree.frontier, note, None)
                await rows.insert_checkpoint(connection, made, now=self._now())

    async def publish(self, connection: Connection) -> Checkpoint | None:
        """Write what is signed outside: leaves, then the proof, then the checkpoint; and mark it.

        Returns:
            The newest that was written now.

        Raises:
            Forked: something else stands there under one of the names, or leaves are missing.
            StoreUnavailable: it goes on where it was, next time.
        """
        published = None
        for each in await rows.unpublished_checkpoints(connection):
            before = await rows.checkpoint_before(connection, each.size)
            old = Tree() if before is None else Tree.of(before.size, before.frontier)
            leaves = await _read_leaves(connection, old.size, each.size)
            # Beside the other work of the process: fifty thousand leaves are a tenth of a second.
            proving = asyncio.ensure_future(asyncio.to_thread(_proof, old, leaves, each))
            while not (await asyncio.wait([proving], timeout=PROOF_LOOK_SECONDS))[0]:
                await rows.keep_alive(connection)
            proof = proving.result()
            await self._put_leaves(connection, old.size, leaves)
            if old.size:
                with calling("audit.put_consistency"):
                    await self._put(connection, consistency_name(old.size, each.size), proof)
            with calling("audit.put_checkpoint"):
                await self._put(connection, checkpoint_name(each.size), each.note.encode())
            await rows.mark_published(connection, each, now=self._now())
            published = each
        return published

    async def _put_leaves(self, connection: Connection, first: int, leaves: list[bytes]) -> None:
        for at in range(0, len(leaves), LEAVES_IN_OBJECT_MAX):
            piece = leaves[at : at + LEAVES_IN_OBJECT_MAX]
            with calling("audit.put_leaves"):
                await self._put(connection, leaves_name(first + at, first + at + len(piece)), b"".join(piece))

    async def _put(self, connection: Connection, name: str, content: bytes) -> None:
        try:
            await self._target.put(name, content)
        except ObjectDiffers as error:
            raise Forked(str(error)) from error
        await rows.keep_alive(connection)

    async def _locked_tree(self, connection: Connection) -> Tree:
        head = await rows.lock_head(connection)
        try:
            tree = Tree.of(head.size, head.frontier)
        except BadFrontier as error:
            raise Forked(f"the head of the tree is none: {error}") from error
        if tree.root != head.root:
            raise Forked("the head's root is not that of its frontier")
        return tree


async def _read_leaves(connection: Connection, first: int, end: int) -> list[bytes]:
    """In pieces, each far within a statement's time: the first checkpoint is of all that earlier releases wrote."""
    leaves: list[bytes] = []
    for at in range(first, end, LEAVES_IN_OBJECT_MAX):
        leaves += await rows.read_leaves(connection, at, min(at + LEAVES_IN_OBJECT_MAX, end))
    return leaves


def _proof(old: Tree, leaves: list[bytes], new: Checkpoint) -> bytes:
    """The consistency proof's lines.

    Raises:
        Forked: the leaves do not lead from one to the other.
    """
    if old.grown(leaves).root != new.root:
        raise Forked(f"the leaves from {old.size} on do not lead to checkpoint {new.size}")
    return b"".join(base64.b64encode(each) + b"\n" for each in old.consistency(leaves))
