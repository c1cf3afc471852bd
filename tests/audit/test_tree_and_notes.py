"""The verifier's tree and notes against the texts: RFC 6962, C2SP signed-note and tlog-checkpoint."""

from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.check.notes import BadKey, BadNote, VerifierKey
from audit.check.proofs import Entry, check_proof, write_proof
from audit.check.tree import (
    EMPTY_ROOT,
    BadProof,
    Tree,
    check_consistency,
    nodes_of_paths,
    path_of,
    root_by_inclusion,
)
from tests.audit.made import Signer, tree_proof, tree_root

LEAVES = [sha256(b"\x00%d" % number).digest() for number in range(300)]
KNOWN_INPUTS = (
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)
KNOWN_ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
"""Of Certificate Transparency's own tests."""
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
"""The example of Go's note package."""


def test_the_root_is_that_of_other_implementations() -> None:
    tree = Tree()
    assert tree.root() == EMPTY_ROOT
    tree.extend([sha256(b"\x00" + bytes.fromhex(each)).digest() for each in KNOWN_INPUTS])
    assert tree.root().hex() == KNOWN_ROOT


@given(st.lists(st.integers(0, 40), max_size=7))
def test_a_stream_in_any_pieces_has_the_root_of_the_text(pieces: list[int]) -> None:
    tree, at = Tree(), 0
    for count in pieces:
        tree = Tree.resumed(tree.size, tree.frontier())
        tree.extend(LEAVES[at : at + count])
        at += count
        assert (tree.size, tree.root()) == (at, tree_root(LEAVES[:at]))


@given(st.integers(1, 200), st.data())
def test_inclusion_is_shown_and_nothing_else(size: int, data: st.DataObject) -> None:
    indexes = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=5))
    tree = Tree(wanted=nodes_of_paths(indexes, size))
    tree.extend(LEAVES[: size // 3])
    tree.extend(LEAVES[size // 3 : size])
    for index in indexes:
        path = path_of(index, size, tree.kept)
        assert root_by_inclusion(index, size, LEAVES[index], path) == tree.root()
        other = root_by_inclusion(index, size, LEAVES[size], path)
        assert other != tree.root()
        with pytest.raises(BadProof):
            root_by_inclusion(index, size, LEAVES[index], [*path, LEAVES[0]])
        if path:
            with pytest.raises(BadProof):
                root_by_inclusion(index, size, LEAVES[index], path[1:])
    with pytest.raises(BadProof):
        root_by_inclusion(size, size, LEAVES[0], [])


@given(st.integers(1, 120), st.data())
def test_consistency_is_shown_and_nothing_else(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, new))
    proof = tree_proof(old, LEAVES[:new]) if old else []
    roots = tree_root(LEAVES[:old]), tree_root(LEAVES[:new])
    check_consistency(old, roots[0], new, roots[1], proof)
    with pytest.raises(BadProof):
        check_consistency(old, tree_root(LEAVES[1 : old + 1]) if old else LEAVES[0], new, roots[1], proof)
    if old:
        with pytest.raises(BadProof):
            check_consistency(old, roots[0], new, tree_root(LEAVES[1 : new + 1]), proof)
        with pytest.raises(BadProof):
            check_consistency(old, roots[0], new, roots[1], [*proof, LEAVES[0]])
    if proof:
        with pytest.raises(BadProof):
            check_consistency(old, roots[0], new, roots[1], proof[1:])


@pytest.mark.parametrize("frontier", [["", "ab"], ["ab" * 32], [], ["", "ab" * 32, "ab" * 32]])
def test_a_frontier_of_another_size_is_refused(frontier: list[str]) -> None:
    with pytest.raises(ValueError, match="frontier"):
        Tree.resumed(2, frontier)


def test_a_note_of_another_implementation_is_read() -> None:
    key = VerifierKey.parse(GO_KEY)
    with pytest.raises(BadNote, match="no checkpoint"):
        key.open(GO_NOTE.encode())
    with pytest.raises(BadNote, match="does not fit"):
        key.open(GO_NOTE.replace("answer", "Answer").encode())


@pytest.mark.parametrize(
    "line",
    ["", "a+b", "a+zz+AA==", GO_KEY.replace("c74f", "c74e"), GO_KEY.replace("Peter", "Pet er"), GO_KEY + "A"],
)
def test_what_is_no_key_is_refused(line: str) -> None:
    with pytest.raises(BadKey):
        VerifierKey.parse(line)


def test_every_flip_of_a_signed_checkpoint_is_refused() -> None:
    """How: each bit of each byte of the note."""
    signer = Signer()
    key = VerifierKey.parse(signer.vkey)
    note = signer.note(100, LEAVES[0])
    opened = key.open(note)
    assert (opened.origin, opened.size, opened.root) == (signer.name, 100, LEAVES[0])
    for at in range(len(note)):
        for bit in range(8):
            changed = bytes([*note[:at], note[at] ^ 1 << bit, *note[at + 1 :]])
            with pytest.raises(BadNote):
                key.open(changed)


def test_other_signatures_beside_are_ignored_and_a_bad_one_of_the_key_is_not() -> None:
    signer, witness = Signer(), Signer(name="witness.example")
    key = VerifierKey.parse(signer.vkey)
    note = signer.note(7, LEAVES[0])
    beside = witness.note(7, LEAVES[0]).rpartition(b"\n\n")[2]
    assert key.open(note + beside).size == 7
    with pytest.raises(BadNote):
        key.open(witness.note(7, LEAVES[0]))
    mine = signer.note(8, LEAVES[0]).rpartition(b"\n\n")[2]
    with pytest.raises(BadNote):
        key.open(note + mine)


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029"])
def test_a_proof_is_read_line_by_line_as_it_is_written(end: str) -> None:
    """How: a payload with a character that ends a line for others than us, and a # behind it."""
    signer, payload = Signer(), f'{{"detail":"a{end}# b"}}'
    text = f'{{"input_hash":"{sha256(payload.encode()).hexdigest()}"}}'
    leaf = sha256(b"\x00" + text.encode()).digest()
    checkpoint = VerifierKey.parse(signer.vkey).open(signer.note(1, leaf))
    proof = write_proof([Entry(0, text, payload, [])], checkpoint)
    (proved,) = check_proof(proof, VerifierKey.parse(signer.vkey))
    assert proved.payload == payload
    with pytest.raises(BadProof, match="payload"):
        check_proof(proof.replace("# b", "# c"), VerifierKey.parse(signer.vkey))


def test_offline_reads_no_settings_and_loads_no_database(tmp_path: Path) -> None:
    """How: a fresh interpreter checks an export; nothing of asyncpg, Temporal or the settings is loaded then."""
    import subprocess
    import sys

    from tests.audit.made import make_log

    log = make_log(5, [5])
    log.put_outside(tmp_path / "outside")
    (tmp_path / "a.jsonl").write_bytes(b"".join(line + b"\n" for line in log.lines))
    script = (
        "import sys; from console.main import run\n"
        f"code = run(['audit', 'verify', '--export', {str(tmp_path / 'a.jsonl')!r}, '--checkpoints',"
        f" {str(tmp_path / 'outside')!r}, '--key', {log.signer.vkey!r}])\n"
        "never = ('asyncpg', 'temporalio', 'pydantic_settings', 'storage.database')\n"
        "loaded = [name for name in never if name in sys.modules]\n"
        "sys.exit(f'loaded {loaded}' if loaded else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
