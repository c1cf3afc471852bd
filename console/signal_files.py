"""Signals from a file or standard input: one JSON object, an array of them, or one object a line.

Each is sent on letter by letter as it stands there: what it may hold is the gateway's to judge.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from console.errors import BadUsage

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
READ_BYTES: Final = 8 * 1024
SIGNALS_MAX: Final = 100_000
STANDARD_INPUT: Final = "-"

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True)
class SignalText:
    """One signal as JSON text, and the id it carries."""

    signal_id: str
    text: str
    stamp: str | None = None
    """The ``created_at`` that was put in here, because the user gave none."""

    def stamped_again(self, created_at: str) -> "SignalText":
        """The same signal as it was first sent, at ``created_at``."""
        assert self.stamp is not None, "only a stamp of our own may be changed"
        text = self.text.replace(json.dumps(self.stamp), json.dumps(created_at), 1)
        return SignalText(self.signal_id, text)


def as_text(fields: dict[str, Any], now: datetime) -> SignalText:
    """A signal put together here; id and time are made where they are missing."""
    whole = {"signal_id": f"cli-{uuid4().hex}", "created_at": now.isoformat(), **fields}
    stamp = None if "created_at" in fields else now.isoformat()
    return SignalText(str(whole["signal_id"]), json.dumps(whole), stamp)


def read_signals(source: str, now: datetime) -> list[SignalText]:
    """Every signal in ``source`` (a path, or ``-``), in order.

    One without ``signal_id`` or ``created_at`` gets a fresh id and ``now``.

    Raises:
        BadUsage: it cannot be read, is no JSON, or holds something else than signals.
    """
    text = _text(source)
    try:
        found = [_completed(piece, value, now) for piece, value in _pieces(text)]
    except json.JSONDecodeError as error:
        raise BadUsage(
            f"{source}: not JSON: {error}", do="give one object, an array of objects, or one a line"
        ) from error
    except (_NotASignal, RecursionError) as error:
        raise BadUsage(f"{source}: {error}", do="each signal is one JSON object") from error
    if not found:
        raise BadUsage(f"{source} holds no signal")
    if len(found) > SIGNALS_MAX:
        raise BadUsage(f"{source} holds {len(found)} signals, at most {SIGNALS_MAX} at a time")
    return found


class _NotASignal(ValueError):
    pass


def _text(source: str) -> str:
    try:
        if source == STANDARD_INPUT:
            data = _standard_input()
        else:
            with Path(source).open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise BadUsage(f"cannot read {source}: {error}", do="give a JSON file, or - for stdin") from error
    if len(data) > FILE_BYTES_MAX:
        raise BadUsage(f"{source} is larger than {FILE_BYTES_MAX} bytes", do="send it in parts")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadUsage(f"{source} is not UTF-8 at byte {error.start}") from error


def _standard_input() -> bytes:
    """In pieces: inside one long read, Ctrl-C can go unheard between two system calls."""
    found = bytearray()
    descriptor = sys.stdin.fileno()
    while piece := os.read(descriptor, READ_BYTES):
        found += piece
        if len(found) > FILE_BYTES_MAX:
            break
    return bytes(found)


def _pieces(text: str) -> Iterator[tuple[str, Any]]:
    """(text, value) of each JSON value: the elements of one array, or values that follow each other."""
    at = _skip(text, 0)
    in_array = text.startswith("[", at)
    if in_array:
        at = _skip(text, at + 1)
        if text.startswith("]", at):
            return
    while at < len(text):
        value, end = _DECODER.raw_decode(text, at)
        yield text[at:end], value
        at = _skip(text, end)
        if in_array:
            if text.startswith("]", at):
                at = _skip(text, at + 1)
                break
            if not text.startswith(",", at):
                raise json.JSONDecodeError("expecting , or ]", text, at)
            at = _skip(text, at + 1)
    if at < len(text):
        raise json.JSONDecodeError("something follows the array", text, at)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _completed(piece: str, value: Any, now: datetime) -> SignalText:
    if not isinstance(value, dict):
        raise _NotASignal(f"{piece[:40]} is no signal")
    missing = {
        name: made
        for name, made in (("signal_id", f"cli-{uuid4().hex}"), ("created_at", now.isoformat()))
        if name not in value
    }
    if missing:
        rest = piece.strip()[1:].strip()
        separator = "" if rest == "}" else ", "
        piece = json.dumps(missing)[:-1] + separator + rest
    return SignalText(str(value.get("signal_id", missing.get("signal_id"))), piece, missing.get("created_at"))
