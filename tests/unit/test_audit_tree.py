"""The writer's tree against Certificate Transparency's test vectors and against the RFC's own recursive words."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.seal.tree import BadFrontier, Tree

INPUTS = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
LEAVES = [hashlib.sha256(b"\x00" + bytes.fromhex(each)).digest() for each in INPUTS]
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
PROOFS = {
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}


def mth(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, word for word, on leaf hashes."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, word for word."""
    n = len(leaves)
    if m == n:
        return [] if whole else [mth(leaves)]
    k = split(n)
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def test_the_roots_of_certificate_transparency() -> None:
    for size, root in enumerate(ROOTS):
        assert Tree().grown(LEAVES[:size]).root.hex() == root


def test_the_consistency_proofs_of_certificate_transparency() -> None:
    for (old, new), proof in PROOFS.items():
        found = Tree().grown(LEAVES[:old]).consistency(LEAVES[old:new])
        assert tuple(each.hex() for each in found) == proof


@given(st.integers(0, 200), st.integers(0, 200))
def test_any_growth_is_the_recursive_definition(old: int, more: int) -> None:
    leaves = [hashlib.sha256(str(each).encode()).digest() for each in range(old + more)]
    tree = Tree().grown(leaves[:old])
    assert Tree.of(old, tree.frontier) == tree
    assert tree.grown(leaves[old:]).root == mth(leaves)
    if old:
        assert tree.consistency(leaves[old:]) == subproof(old, leaves, True)


def test_a_frontier_of_another_size_is_refused() -> None:
    with pytest.raises(BadFrontier):
        Tree.of(4, Tree().grown(LEAVES[:3]).frontier)
