"""What the sealer leaves outside the database, and under which names; each is written once.

Whoever can rewrite our database must not be able to rewrite what is there (`audit.store`). In the order they are
written: ``leaves/FIRST-END`` (32 bytes for each leaf of [FIRST, END)), ``consistency/OLD-NEW`` (the proof that
the tree only grew, one base64 line a hash), ``checkpoints/SIZE`` (a signed note). ``key`` is who signs, as a vkey.
"""

from typing import Final

KEY: Final = "key"
CHECKPOINTS: Final = "checkpoints/"
DIGITS: Final = 20
"""As many as the largest bigint has, so that names sort as their numbers."""


def leaves_name(first: int, end: int) -> str:
    return f"leaves/{first:0{DIGITS}d}-{end:0{DIGITS}d}"


def consistency_name(old: int, new: int) -> str:
    return f"consistency/{old:0{DIGITS}d}-{new:0{DIGITS}d}"


def checkpoint_name(size: int) -> str:
    return f"{CHECKPOINTS}{size:0{DIGITS}d}"
