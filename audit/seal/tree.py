"""The Merkle tree of RFC 6962, as far as its writer needs it: append, root, and a proof that it only grew.

What is kept of a tree is its compact range: the hashes of its perfect subtrees, largest first, as many as its
size has binary ones. A leaf costs about one hash more, whatever the size. So does a leaf of a consistency proof: it
is made of the older tree's compact range and the leaves that came after, and nothing older is ever read again.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from schemas.audit import HASH_BYTES, NODE_PREFIX

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


class BadFrontier(Exception):
    """The stored hashes are not as many as the size asks for."""


@dataclass(frozen=True)
class Tree:
    """A tree of ``size`` leaves by its compact range."""

    size: int = 0
    nodes: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, size: int, frontier: bytes) -> Self:
        """As stored.

        Raises:
            BadFrontier: they do not fit together.
        """
        if len(frontier) != HASH_BYTES * size.bit_count():
            raise BadFrontier(f"{len(frontier)} bytes of hashes for a tree of {size} leaves")
        return cls(size, tuple(_pieces(frontier)))

    @property
    def frontier(self) -> bytes:
        """The compact range in one piece."""
        return b"".join(self.nodes)

    @property
    def root(self) -> bytes:
        """The tree's hash."""
        if not self.nodes:
            return EMPTY_ROOT
        root = self.nodes[-1]
        for left in reversed(self.nodes[:-1]):
            root = node_hash(left, root)
        return root

    def grown(self, leaves: Iterable[bytes]) -> "Tree":
        """The tree with these leaves after its own."""
        size, nodes = self.size, list(self.nodes)
        for leaf in leaves:
            made, perfect = leaf, size
            while perfect & 1:
                made = node_hash(nodes.pop(), made)
                perfect >>= 1
            nodes.append(made)
            size += 1
        return Tree(size, tuple(nodes))

    def consistency(self, leaves: Sequence[bytes]) -> list[bytes]:
        """The proof that the tree with ``leaves`` after it begins with this one (RFC 6962, section 2.1.2)."""
        return [] if not self.size else self._proof(leaves, 0, self.size + len(leaves), whole=True)

    def _proof(self, leaves: Sequence[bytes], start: int, end: int, *, whole: bool) -> list[bytes]:
        """SUBPROOF of the range [start, end) of the larger tree; ``whole``: it is the older tree itself so far."""
        if end == self.size:
            return [] if whole else [self._node(start)]
        middle = start + _left_leaves(end - start)
        if self.size <= middle:
            right = leaves[middle - self.size : end - self.size]
            return [*self._proof(leaves, start, middle, whole=whole), Tree().grown(right).root]
        return [*self._proof(leaves, middle, end, whole=False), self._node(start)]

    def _node(self, start: int) -> bytes:
        """The perfect subtree that begins at ``start``."""
        return self.nodes[start.bit_count()]


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees side by side."""
    return hashlib.sha256(NODE_PREFIX + left + right).digest()


def _left_leaves(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def _pieces(frontier: bytes) -> Iterable[bytes]:
    return (frontier[at : at + HASH_BYTES] for at in range(0, len(frontier), HASH_BYTES))
