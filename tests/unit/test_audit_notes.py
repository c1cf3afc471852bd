"""Signed notes: ids and signatures as others make them, read back without a line of ours."""

import base64

import pytest
from cryptography.exceptions import InvalidSignature

from security.notes import AuditKeyError, NoteSigner, checkpoint_text, key_id, origin_of
from tests.servers.notes import opened

SEED = "11" * 32
GO_VKEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
GO_NOTE_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\N{EM DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6R"
    "yyBwJnAM=\n"
)


def test_a_note_of_the_go_library_is_opened_the_same_way() -> None:
    assert opened(GO_NOTE, GO_NOTE_VKEY).startswith("If you think")


@pytest.mark.parametrize("vkey", [GO_VKEY, GO_NOTE_VKEY])
def test_keys_have_the_ids_that_others_give_them(vkey: str) -> None:
    name, told, key = vkey.split("+", 2)
    assert key_id(name, base64.b64decode(key)[1:]).hex() == told


def test_a_checkpoint_is_three_lines_under_a_signature() -> None:
    signer = NoteSigner.from_hex(origin_of("0b51"), SEED)
    root = bytes(range(32))
    note = signer.sign(checkpoint_text(signer.name, 17, root))
    origin, size, told, *rest = opened(note, signer.vkey).splitlines()
    assert (origin, size, base64.b64decode(told), rest) == ("trading-interface/audit/0b51", "17", root, [])
    assert signer.sign(checkpoint_text(signer.name, 17, root)) == note, "one size has one note"


def test_a_changed_note_is_no_note() -> None:
    signer = NoteSigner.from_hex("log", SEED)
    note = signer.sign(checkpoint_text("log", 17, bytes(32)))
    with pytest.raises(InvalidSignature):
        opened(note.replace("\n17\n", "\n18\n"), signer.vkey)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n"])
def test_a_name_that_a_note_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name of a key"):
        NoteSigner.from_hex(name, SEED)


@pytest.mark.parametrize("text", ["", "11" * 31, "x" * 64, "11" * 33])
def test_a_key_that_is_none_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(AuditKeyError, match="TRADING_AUDIT_KEY") as refused:
        NoteSigner.from_hex("log", text)
    assert not text or text not in str(refused.value)
