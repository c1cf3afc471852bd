"""Rows and leaves laid side by side, where they differ."""

from collections.abc import Mapping, Sequence

from audit.check.tree import HASH_BYTES


def split_hashes(leaves: bytes) -> list[bytes]:
    """Hashes that stand one after the other."""
    return [leaves[at : at + HASH_BYTES] for at in range(0, len(leaves), HASH_BYTES)]


def rejoin(
    found: Sequence[bytes], at: int, truth: Sequence[bytes], here: int, places: Mapping[bytes, int]
) -> tuple[int, int] | None:
    """Where rows and leaves go together again, from ``found[at]`` and ``truth[here]`` on, which differ.

    That is at the first row whose leaf comes as far on, or whose leaf is followed by that of the row after it.

    Args:
        places: of each leaf in ``truth``.

    Returns:
        The places in both; None where they do not meet again.
    """
    for end in range(at, len(found)):
        until = places.get(found[end])
        if until is None or until < here:
            continue
        if until - here == end - at:
            return end, until
        after = found[end + 1] if end + 1 < len(found) else None
        expected = truth[until + 1] if until + 1 < len(truth) else None
        if after == expected or (expected is None and after not in places):
            return end, until
    return None
