"""Files of signals: each is sent on letter by letter, or the file is refused before anything is sent."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import BadUsage
from console.signal_files import SignalText, as_text, read_signals

NOW = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)
FULL = {"signal_id": "a", "created_at": "2026-11-23T15:00:00Z"}

OBJECTS = st.dictionaries(
    st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=10), max_size=4
).map(lambda found: found | FULL)


def read(folder: Path, text: str) -> list[SignalText]:
    path = folder / "signals.json"
    path.write_text(text, "utf-8")
    return read_signals(str(path), NOW)


@given(
    objects=st.lists(OBJECTS, min_size=1, max_size=5), separator=st.sampled_from(["\n", "", " \n\n", "\r\n"])
)
def test_three_forms_mean_the_same(
    tmp_path_factory: Any, objects: list[dict[str, Any]], separator: str
) -> None:
    folder = tmp_path_factory.mktemp("files")
    texts = [json.dumps(each) for each in objects]
    array = read(folder, "[" + f" ,{separator}".join(texts) + "]\n")
    lines = read(folder, separator.join(texts))
    assert [each.text for each in array] == [each.text for each in lines] == texts


def test_letters_are_kept_as_they_stand(tmp_path: Path) -> None:
    text = '{"signal_id":"a",  "created_at":"x", "quantity": 1e308, "q": NaN, "q": 0.10}'
    assert read(tmp_path, text) == [SignalText("a", text)]


def test_missing_id_and_time_are_made(tmp_path: Path) -> None:
    first, second = read(tmp_path, '{"ticker": "AAPL"}\n{}')
    found = json.loads(first.text)
    assert found == {"signal_id": first.signal_id, "created_at": NOW.isoformat(), "ticker": "AAPL"}
    assert json.loads(second.text)["signal_id"] == second.signal_id != first.signal_id


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "piped"
    path.write_text("\n".join(json.dumps(FULL) for _ in range(1000)))
    with path.open() as piped:
        monkeypatch.setattr("sys.stdin", piped)
        assert len(read_signals("-", NOW)) == 1000


@pytest.mark.parametrize(
    "text",
    ["", " \n", "[]", "[1]", '"buy"', "null", "{", "[{}", "[{},]", "[{} {}]", "[{}] {}", "{} x", "[{}]]",
     "[" * 100_000],
)  # fmt: skip
def test_what_holds_no_signals_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadUsage) as caught:
        read(tmp_path, text)
    assert "signals.json" in caught.value.what


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b'{"rationale": "\xe9"}')
    for path in (tmp_path / "nowhere", tmp_path, tmp_path / "latin", "a\0b"):
        with pytest.raises(BadUsage):
            read_signals(str(path), NOW)


def test_fields_given_by_hand_outrank_what_is_made() -> None:
    assert json.loads(as_text({"signal_id": "b"}, NOW).text) == {
        "signal_id": "b",
        "created_at": NOW.isoformat(),
    }
