"""Proofs that rows stand in the log: a text that a stranger can check with nothing of ours.

For each row its leaf's text, its payload where that is at hand, and a proof in the form of C2SP tlog-proof.
"""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from audit.check.notes import BadNote, Checkpoint, VerifierKey, hashes_of
from audit.check.tree import BadProof, root_by_inclusion
from schemas.audit import leaf_hash, text_sha256

PROOF_BYTES_MAX: Final = 64 * 1024 * 1024
FORMAT: Final = "c2sp.org/tlog-proof@v1"

_HEADER: Final = """\
# {count} of the audit log {origin}, proved to stand among its first {size} rows.
# To check a row by hand, without any program of ours:
#  1. Its leaf is SHA-256 over the byte 0 and the text after "row " up to the end of the line.
#  2. SHA-256 over the text after "payload " is the row's "input_hash".
#  3. From the leaf, its index and the hashes under it, in their order, RFC 6962 section 2.1.1 gives a root.
#  4. That root is the third line of the checkpoint below it, which the log's key has signed (C2SP signed-note).
#     Have that key from elsewhere than this file: trading audit prove --check FILE --key KEY
"""
_ROW: Final = re.compile(
    r"row (?P<row>[^\n]+)\n(?:payload (?P<payload>[^\n]+)\n)?" + re.escape(FORMAT) + r"\n"
    r"index (?P<index>0|[1-9]\d{0,18})\n(?P<path>(?:[A-Za-z0-9+/]{43}=\n)*)\n(?P<note>.+)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Entry:
    """One row with what proves it."""

    index: int
    text: str
    """The leaf's."""
    payload: str | None
    path: Sequence[bytes]


@dataclass(frozen=True)
class Proved:
    """One row that is proved."""

    index: int
    fields: dict[str, Any]
    payload: str | None
    checkpoint: Checkpoint


def write_proof(entries: Sequence[Entry], checkpoint: Checkpoint) -> str:
    """The text of a proof of one or more rows against one checkpoint."""
    count = "A row" if len(entries) == 1 else f"{len(entries)} rows"
    parts = [_HEADER.format(count=count, origin=checkpoint.origin, size=checkpoint.size)]
    for entry in entries:
        payload = "" if entry.payload is None else f"payload {entry.payload}\n"
        path = "".join(b64encode(each).decode() + "\n" for each in entry.path)
        parts.append(f"row {entry.text}\n{payload}{FORMAT}\nindex {entry.index}\n{path}\n{checkpoint.note}")
    return "\n".join(parts)


def check_proof(text: str, key: VerifierKey) -> list[Proved]:
    """Check a proof's text against the log's key.

    Raises:
        BadProof: it does not prove what it says; the message names the row.
    """
    # By newlines alone: a payload may hold other characters that Python ends a line at.
    body = "\n".join(line for line in text.split("\n") if not line.startswith("#"))
    parts = re.split(r"\n(?=row )", body)
    if not parts[0].strip():
        parts.pop(0)
    if not parts:
        raise BadProof("there is no row in it")
    return [_check(number, part.lstrip("\n"), key) for number, part in enumerate(parts, 1)]


def _check(number: int, part: str, key: VerifierKey) -> Proved:
    found = _ROW.fullmatch(part)
    if found is None:
        raise BadProof(f"row {number} of the proof is not written as proofs are")
    try:
        checkpoint = key.open(found["note"].encode())
        path = hashes_of(found["path"].encode())
        root = root_by_inclusion(int(found["index"]), checkpoint.size, leaf_hash(found["row"]), path)
        fields = json.loads(found["row"])
        named = fields["input_hash"]
    except BadNote as error:
        raise BadProof(f"row {number}: its checkpoint: {error}") from error
    except BadProof as error:
        raise BadProof(f"row {number}: {error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise BadProof(f"row {number}: its text is no audit row") from error
    if root != checkpoint.root:
        raise BadProof(f"row {number}: row and hashes do not give the signed root; one of them was changed")
    if found["payload"] is not None and text_sha256(found["payload"]) != named:
        raise BadProof(f"row {number}: the payload does not have the row's input_hash")
    return Proved(int(found["index"]), fields, found["payload"], checkpoint)
