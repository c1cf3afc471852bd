"""Payload encryption: which keys open what, and that nothing readable is left."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError

from observability.redaction import register_secret
from schemas.runs import OrderInput
from security.payload_files import PAYLOAD_KEYS, add, drop, ensure_file, read_file, use
from security.payloads import (
    KEYS_MAX,
    NONCE_BYTES,
    KeyRing,
    PayloadKeyError,
    PayloadKeys,
    SealingCodec,
    UnreadablePayload,
    data_converter,
)

NOW = datetime(2026, 11, 27, tzinfo=UTC)
OLD, NEW = f"old:{'1f' * 32}", f"new:{'2e' * 32}"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'{"ticker":"AAPL"}')
CANARY = "canary-failure-7d1c-horse-battery"
register_secret(CANARY)


def ring(*lines: str) -> KeyRing:
    return KeyRing(PayloadKeys.parse("\n".join(lines)))


def test_what_is_sealed_is_opened_by_its_key_and_shows_nothing() -> None:
    first, again = ring(OLD).seal(PLAIN), ring(OLD).seal(PLAIN)
    assert b"AAPL" not in first.SerializeToString()
    assert b"json" not in first.SerializeToString()
    assert first.data[:NONCE_BYTES] != again.data[:NONCE_BYTES]
    assert first.metadata["encryption-key-id"] == b"old"
    assert ring(OLD).open(first) == PLAIN


def test_the_first_key_encrypts_and_every_one_decrypts() -> None:
    before = ring(OLD).seal(PLAIN)
    rotated = ring(NEW, OLD)
    after = rotated.seal(PLAIN)
    assert after.metadata["encryption-key-id"] == b"new"
    assert [rotated.open(each) for each in (before, after)] == [PLAIN, PLAIN]
    with pytest.raises(UnreadablePayload, match="the key 'new', which is not known"):
        ring(OLD).open(after)


def test_a_ring_takes_other_keys_while_it_is_used() -> None:
    used = ring(OLD)
    before = used.seal(PLAIN)
    used.use(PayloadKeys.parse(f"{NEW}\n{OLD}"))
    assert used.ids == ("new", "old")
    assert used.open(before) == PLAIN
    assert used.seal(PLAIN).metadata["encryption-key-id"] == b"new"


@pytest.mark.parametrize("place", [0, NONCE_BYTES, -1])
def test_one_changed_bit_is_seen(place: int) -> None:
    sealed = ring(OLD).seal(PLAIN)
    data = bytearray(sealed.data)
    data[place] ^= 1
    with pytest.raises(UnreadablePayload, match="changed or cut"):
        ring(OLD).open(Payload(metadata=sealed.metadata, data=bytes(data)))


def test_a_cut_one_and_one_under_another_name_of_the_same_key_are_seen() -> None:
    sealed = ring(OLD).seal(PLAIN)
    both = ring(OLD, f"alias:{'1f' * 32}")
    renamed = Payload(metadata={**sealed.metadata, "encryption-key-id": b"alias"}, data=sealed.data)
    for bad in (renamed, Payload(metadata=sealed.metadata, data=sealed.data[:5])):
        with pytest.raises(UnreadablePayload, match="changed or cut"):
            both.open(bad)


async def test_the_codec_reads_plain_and_old_ones_and_hands_on_what_it_cannot_read() -> None:
    strange = ring(NEW).seal(PLAIN)
    codec = SealingCodec(ring(OLD))
    assert await codec.decode([PLAIN, ring(OLD).seal(PLAIN), strange]) == [PLAIN, PLAIN, strange]
    (sealed,) = await codec.encode([PLAIN])
    assert sealed != PLAIN
    reader = SealingCodec(ring(OLD), writes=False)
    assert await reader.encode([PLAIN]) == [PLAIN]
    assert await reader.decode([sealed]) == [PLAIN]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "0 keys"),
        ("old:1f1f", "line 1: not ID:KEY"),
        (f"old {'1f' * 32}", "line 1: not ID:KEY"),
        (f"{OLD}\n\n{OLD}", "line 3: a second key old"),
        ("\n".join(f"k{n}:{'1f' * 32}" for n in range(KEYS_MAX + 1)), "33 keys"),
    ],
)
def test_unusable_keys_are_refused_without_being_repeated(text: str, told: str) -> None:
    with pytest.raises(PayloadKeyError, match=told) as refused:
        PayloadKeys.parse(text)
    assert "1f1f" not in str(refused.value)


def test_neither_keys_nor_their_ring_show_themselves() -> None:
    keys = PayloadKeys.parse(f"{NEW}\n{OLD}")
    shown = f"{keys!r} {keys} {KeyRing(keys)!r} {vars(SealingCodec(KeyRing(keys)))!r}"
    assert "1f1f" not in shown
    assert "1f\\x1f" not in shown
    assert repr(keys) == "PayloadKeys(new, old)"


@pytest.mark.parametrize("sealed", [True, False])
async def test_a_failure_is_redacted_and_encrypted_where_payloads_are(sealed: bool) -> None:
    converter = data_converter(ring(OLD)) if sealed else data_converter(None)
    failure = (await converter.encode([PLAIN]))[0] and _failure()
    from temporalio.api.failure.v1 import Failure

    proto = Failure()
    await converter.encode_failure(failure, proto)
    raw = proto.SerializeToString()
    assert CANARY.encode() not in raw
    assert (b"price" in raw) is not sealed
    assert (b"caused" in raw) is not sealed
    back = await converter.decode_failure(proto)
    assert isinstance(back, ApplicationError)
    assert back.message == "bad price, key [redacted]"
    assert back.type == "ERR_TEST"
    assert "caused" in str(back.__cause__)
    assert CANARY not in repr(back.__cause__)


def _failure() -> ApplicationError:
    try:
        try:
            raise RuntimeError(f"caused by {CANARY}")
        except RuntimeError as cause:
            raise ApplicationError(f"bad price, key {CANARY}", type="ERR_TEST") from cause
    except ApplicationError as error:
        return error


async def test_a_plain_history_is_read_with_keys() -> None:
    told = OrderInput(signal_id="s1", display="buy 1 AAPL")
    payloads = await pydantic_data_converter.encode([told])
    assert await data_converter(ring(OLD)).decode(payloads, [OrderInput]) == [told]


def test_a_key_goes_its_way_through_the_file(tmp_path: Path) -> None:
    first = ensure_file(tmp_path, now=NOW)
    assert ensure_file(tmp_path, now=NOW).by_id == first.by_id
    assert (tmp_path / PAYLOAD_KEYS).stat().st_mode & 0o777 == 0o600
    _, new = add(tmp_path, now=NOW).by_id
    assert read_file(tmp_path).newest == first.newest
    assert use(tmp_path, new).newest == new
    with pytest.raises(PayloadKeyError, match="encrypts: first"):
        drop(tmp_path, new)
    assert list(drop(tmp_path, first.newest).by_id) == [new]
    with pytest.raises(PayloadKeyError, match="no key gone"):
        use(tmp_path, "gone")
