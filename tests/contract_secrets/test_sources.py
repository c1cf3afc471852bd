"""Numbered cases that every source of secrets passes, on its real server."""

import logging
from pathlib import Path

import pytest

from observability.logging import configure_logging, restore_logging
from security.secrets.errors import SecretError, SecretMalformed, SecretMissing
from security.secrets.reader import SecretReader
from tests.contract_secrets.conftest import Kept

PAIR = {"broker_key": "PKONE", "broker_secret": "a secret of tests, which nothing may show"}
OTHER = {"broker_key": "PKTWO", "broker_secret": "another secret of tests, which nothing may show"}
PATH = "t/broker"


def test_k101_what_was_put_is_read_and_no_repr_shows_it(kept: Kept) -> None:
    kept.put(PATH, **PAIR)
    found = kept.source.read(PATH)
    assert {name: value.get_secret_value() for name, value in found.fields.items()} == PAIR
    assert PAIR["broker_secret"] not in f"{found!r} {found.fields!r} {kept.source!r}"


def test_k102_the_newest_version_is_read_and_has_another_name(kept: Kept) -> None:
    kept.put(PATH, **PAIR)
    first = kept.source.read(PATH)
    assert kept.source.read(PATH).version == first.version
    kept.put(PATH, **OTHER)
    second = kept.source.read(PATH)
    assert second.version != first.version
    assert second.text("broker_key").get_secret_value() == "PKTWO"


def test_k103_nothing_there_names_the_path(kept: Kept) -> None:
    with pytest.raises(SecretMissing, match="absent"):
        kept.source.read("t/absent")


def test_k104_a_missing_field_is_named_and_no_value(kept: Kept) -> None:
    kept.put(PATH, broker_key="PKONE", broker_secret="a value")
    with pytest.raises(SecretMissing, match="broker_token") as missing:
        kept.source.read(PATH).text("broker_token")
    assert "a value" not in str(missing.value)


@pytest.mark.parametrize("value", [" ", "\n"])
def test_k105_an_empty_text_is_malformed(kept: Kept, value: str) -> None:
    kept.put(PATH, broker_key=value, broker_secret=PAIR["broker_secret"])
    with pytest.raises(SecretMalformed, match="broker_key") as malformed:
        kept.source.read(PATH)
    assert PAIR["broker_secret"] not in str(malformed.value)


def test_k106_who_does_not_answer_is_told_by_type(kept: Kept) -> None:
    source = kept.broken()
    with pytest.raises(SecretError) as error:
        source.read(PATH)
    assert error.value.retryable is (kept.source.name != "embedded")
    source.close()


def test_k108_no_line_of_any_library_shows_it_at_the_loudest_level(kept: Kept, tmp_path: Path) -> None:
    log = tmp_path / "log"
    kept.put(PATH, **PAIR)
    configure_logging("test", level="DEBUG", file=log)
    try:
        logging.getLogger("test").debug("the loudest level is on")
        kept.source.read(PATH)
        kept.source.close()
    finally:
        restore_logging()
    written = log.read_text()
    assert "the loudest level is on" in written
    assert PAIR["broker_secret"] not in written
    assert PAIR["broker_key"] not in written


async def test_k107_it_is_read_from_an_event_loop_and_closed_twice(kept: Kept) -> None:
    kept.put(PATH, **PAIR)
    reader = SecretReader(kept.source)
    assert (await reader.read(PATH)).text("broker_key").get_secret_value() == "PKONE"
    await reader.close()
    kept.source.close()
