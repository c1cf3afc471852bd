"""Merkle trees as RFC 6962, section 2.1, defines them: roots over a stream, and proofs checked and made.

Written from the text, and by purpose not what the sealer uses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, TypeAlias

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
_NODE: Final = b"\x01"

Node: TypeAlias = tuple[int, int]
"""A complete subtree: its level (0: leaves) and its place among those of that level."""


class BadProof(Exception):
    """A proof does not fit what it is said to prove; the message says why."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(_NODE + left + right).digest()


@dataclass
class Tree:
    """The root over a stream of leaf hashes, in memory for one hash a level.

    ``wanted`` names complete subtrees whose hashes are kept in ``kept`` as they come by: what proofs are made of.
    """

    size: int = 0
    wanted: frozenset[Node] = frozenset()
    kept: dict[Node, bytes] = field(default_factory=dict)
    _single: list[bytes | None] = field(default_factory=list)
    """By level: the complete subtree that waits for its right-hand neighbour."""

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Append leaf hashes. Level by level, because so a batch costs one pass of hashing."""
        row, level = list(leaves), 0
        while row:
            if level == len(self._single):
                self._single.append(None)
            first = self.size >> level
            waiting = self._single[level]
            if self.wanted:
                self._keep(level, first, row)
            if waiting is not None:
                row.insert(0, waiting)
            self._single[level] = row.pop() if len(row) % 2 else None
            pairs = iter(row)
            row = [sha256(_NODE + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
            level += 1
        self.size += len(leaves)

    def _keep(self, level: int, first: int, row: Sequence[bytes]) -> None:
        for node in self.wanted:
            if node[0] == level and first <= node[1] < first + len(row):
                self.kept[node] = row[node[1] - first]

    def root(self) -> bytes:
        """The root over all leaves so far."""
        found: bytes | None = None
        for single in self._single:
            if single is not None:
                found = single if found is None else node_hash(single, found)
        return EMPTY_ROOT if found is None else found

    def frontier(self) -> list[str]:
        """What the tree goes on from, as text: level by level a hash in hex or nothing."""
        return ["" if single is None else single.hex() for single in self._single]

    @classmethod
    def resumed(cls, size: int, frontier: Sequence[str]) -> "Tree":
        """A tree that goes on from there.

        Raises:
            ValueError: the frontier is not one of a tree of this size.
        """
        single = [bytes.fromhex(text) or None for text in frontier]
        fits = all(
            (each is not None) == bool(size >> level & 1) and (each is None or len(each) == HASH_BYTES)
            for level, each in enumerate(single)
        )
        if size < 0 or not fits or size >> len(single):
            raise ValueError(f"no frontier of a tree of {size} leaves")
        return cls(size=size, _single=single)


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def root_by_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root of a tree of ``size`` leaves in which ``leaf`` stands at ``index``, by the audit path.

    Raises:
        BadProof: the path is too long or too short, or there is no such place.
    """
    if not 0 <= index < size:
        raise BadProof(f"a tree of {size} leaves has no leaf {index}")
    if size == 1:
        if path:
            raise BadProof("the audit path is too long")
        return leaf
    if not path:
        raise BadProof("the audit path is too short")
    half = _split(size)
    if index < half:
        return node_hash(root_by_inclusion(index, half, leaf, path[:-1]), path[-1])
    return node_hash(path[-1], root_by_inclusion(index - half, size - half, leaf, path[:-1]))


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of ``new`` leaves begins with that of ``old`` leaves.

    Raises:
        BadProof: it is not shown.
    """
    if not 0 <= old <= new:
        raise BadProof(f"a tree of {new} leaves does not begin with one of {old}")
    if old == 0:
        if proof:
            raise BadProof("the empty tree needs no proof")
        if old_root != EMPTY_ROOT:
            raise BadProof("not the root of the empty tree")
        return
    shown_old, shown_new = _roots(old, new, old_root, proof, whole=True)
    if shown_old != old_root:
        raise BadProof(f"the proof leads to another root of {old} leaves")
    if shown_new != new_root:
        raise BadProof(f"the proof leads to another root of {new} leaves")


def _roots(
    old: int, new: int, old_root: bytes, proof: Sequence[bytes], *, whole: bool
) -> tuple[bytes, bytes]:
    """SUBPROOF of the RFC, read backwards: both roots of a subtree. ``whole``: its old part is all that was."""
    if old == new:
        if len(proof) != (0 if whole else 1):
            raise BadProof("the proof has a wrong number of hashes")
        return (old_root, old_root) if whole else (proof[0], proof[0])
    if not proof:
        raise BadProof("the proof has a wrong number of hashes")
    half = _split(new)
    if old <= half:
        was, now = _roots(old, half, old_root, proof[:-1], whole=whole)
        return was, node_hash(now, proof[-1])
    was, now = _roots(old - half, new - half, old_root, proof[:-1], whole=False)
    return node_hash(proof[-1], was), node_hash(proof[-1], now)


def complete_subtrees(start: int, count: int) -> list[Node]:
    """The complete subtrees that the leaves [start, start + count) are made of, left to right.

    ``start`` is a multiple of the largest power of two that is not above ``count``.
    """
    found = []
    while count:
        level = count.bit_length() - 1
        found.append((level, start >> level))
        start, count = start + (1 << level), count - (1 << level)
    return found


def path_ranges(index: int, size: int, start: int = 0) -> list[tuple[int, int]]:
    """The leaves under each hash of the audit path of ``index``, as (first, count), from the leaf's sibling up."""
    if size == 1:
        return []
    half = _split(size)
    if index < half:
        return [*path_ranges(index, half, start), (start + half, size - half)]
    return [*path_ranges(index - half, size - half, start + half), (start, half)]


def nodes_of_paths(indexes: Iterable[int], size: int) -> frozenset[Node]:
    """All complete subtrees that the audit paths of these leaves are made of."""
    ranges = {each for index in indexes for each in path_ranges(index, size)}
    return frozenset(node for start, count in ranges for node in complete_subtrees(start, count))


def path_of(index: int, size: int, kept: dict[Node, bytes]) -> list[bytes]:
    """The audit path of a leaf, from the kept subtrees of a tree that had ``nodes_of_paths`` of it."""
    return [_range_hash(start, count, kept) for start, count in path_ranges(index, size)]


def _range_hash(start: int, count: int, kept: dict[Node, bytes]) -> bytes:
    *left, last = complete_subtrees(start, count)
    found = kept[last]
    for node in reversed(left):
        found = node_hash(kept[node], found)
    return found
