"""``trading logs``: an order's lines are found over processes and files, and no other's."""

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from console.log_lines import Line, Tail
from console.main import run
from observability.log_files import LOG_COPIES, RotatingFile, files_of

TRACE, OTHER_TRACE = "a" * 32, "b" * 32


def line(second: int, service: str, event: str, **fields: Any) -> str:
    told = {"timestamp": f"2026-11-27T14:00:{second:02d}.000000Z", "level": "info", "service": service}
    return json.dumps({**told, "mode": "paper", "event": event, **fields})


LINES = {
    "gateway.log.1": [
        line(1, "gateway", "signal accepted", signal_id="s-1", trace_id=TRACE),
        line(1, "gateway", "signal accepted", signal_id="s-11", trace_id=OTHER_TRACE),
    ],
    "gateway.log": [line(9, "gateway", "asked", trace_id=TRACE), "Traceback, which is no JSON"],
    "risk.log": [
        line(
            2, "risk", "risk refused", signal_id="s-1", level="warning",
            failed=[{"check": "price_collar", "value": "5.1 %", "limit": "≤ 2 %", "formula": "|10 − 9.5| / 9.5"}],
        ),
    ],
    "execution.log": [
        line(4, "execution", "broker call", trace_id=TRACE, latency_ms=12.5),
        line(5, "execution", "placed", signal_id="s-1", client_order_id="ti-1", internal_order_id="i-1"),
        line(5, "execution", "placed", signal_id="s-11", client_order_id="ti-11", trace_id=TRACE),
        line(8, "execution", "step done", workflow_id="order-s-1"),
    ],
    "operations.log": [
        line(6, "operations", "fill", client_order_id="ti-1", broker_order_id="b-1", signal_id="s-1"),
        line(7, "operations", "broker update", broker_order_id="b-1"),
    ],
}  # fmt: skip
STORY = [
    "signal accepted",
    "risk refused",
    "broker call",
    "placed",
    "fill",
    "broker update",
    "step done",
    "asked",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("TRADING_DATABASE_URL", "TRADING_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "logs").mkdir()
    for name, lines in LINES.items():
        (tmp_path / "logs" / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def events(printed: str) -> list[str]:
    return [json.loads(each)["event"] for each in printed.splitlines()]


@pytest.mark.parametrize("some_id", ["s-1", "i-1", "ti-1", "b-1"])
def test_every_id_finds_the_whole_story_in_its_order(
    folder: Path, capsys: pytest.CaptureFixture[str], some_id: str
) -> None:
    assert run(["logs", "--order", some_id, "--json", "--data-dir", str(folder)]) == 0
    assert events(capsys.readouterr().out) == STORY


def test_standard_input_is_read_as_compose_writes_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"{name.split('.')[0]}-1  | {each}\n" for name, lines in LINES.items() for each in lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert run(["logs", "--order", "b-1", "--json", "-"]) == 0
    assert events(capsys.readouterr().out) == STORY


class Pipe(io.StringIO):
    """Where standard output is no terminal: what was written is seen by a reader once it is flushed."""

    seen = 0

    def flush(self) -> None:
        self.seen = len(self.getvalue().splitlines())


def test_what_is_followed_through_a_pipe_is_seen_line_by_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: before each line of standard input, the lines that a reader of our output has by then are counted."""
    pipe, seen = Pipe(), []

    def coming() -> Iterator[bytes]:
        for second in range(3):
            seen.append(pipe.seen)
            yield line(second, "risk", "asked").encode() + b"\n"

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=coming()))
    monkeypatch.setattr(sys, "stdout", pipe)
    assert run(["logs", "--follow", "--json", "-"]) == 0
    assert seen == [0, 1, 2]


def test_what_was_written_just_before_a_file_began_anew_is_followed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: the writer goes on after the tail's first reading, then begins its file anew."""
    path = _touched(tmp_path / "a.log")
    tail, real, turned = Tail(path, at_end=True), Tail._rest, []

    def rest(self: Tail) -> list[Line]:
        found = real(self)
        if not turned:
            turned.append(path.write_text(line(1, "a", "last of the old") + "\n"))
            path.rename(tmp_path / "a.log.1")
            path.write_text(line(2, "a", "first of the new") + "\n")
        return found

    monkeypatch.setattr(Tail, "_rest", rest)
    assert [each.fields["event"] for each in tail.read()] == ["last of the old", "first of the new"]
    tail.close()


def test_lines_are_chosen_by_level_time_and_process(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for chosen, wanted in (
        (("--level", "warning"), ["risk refused"]),
        (("--since", "2026-11-27T14:00:08Z"), ["step done", "asked"]),
        (("--process", "risk,operations"), ["risk refused", "fill", "broker update"]),
    ):
        assert run(["logs", *chosen, "--json", "--data-dir", str(folder)]) == 0
        assert events(capsys.readouterr().out) == wanted


def test_people_read_the_arithmetic_of_a_refusal_and_no_colours_in_a_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["logs", "--order", "s-1", "--process", "risk", "--data-dir", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "price_collar: 5.1 %, allowed ≤ 2 %: |10 − 9.5| / 9.5" in printed
    assert "\x1b" not in printed


def test_what_nobody_wrote_of_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs", "--order", "nobody", "--data-dir", str(folder)]) == 1
    assert "no line tells of nobody" in capsys.readouterr().err
    assert run(["logs", "--level", "loud", "--data-dir", str(folder)]) == 2


def test_a_file_begins_anew_when_it_is_full_and_the_streams_go_with_it(tmp_path: Path) -> None:
    """How: a child writes to the file and to its standard error, which is the same file, past the bound."""
    path = tmp_path / "a.log"
    reading, kept = Tail(_touched(path), at_end=True), os.dup(2)
    opened = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.dup2(opened, 2)
    try:
        file = RotatingFile(path, bytes_max=1_000)
        for number in range(100):
            file.write(line(number % 60, "a", "counted", number=number) + "\n")
        os.write(2, (line(0, "a", "by standard error", number=100) + "\n").encode())
        file.close()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(opened)
    assert [each.name for each in files_of(path)] == [
        *(f"a.log.{n}" for n in range(LOG_COPIES, 0, -1)),
        "a.log",
    ]
    assert all(each.stat().st_size <= 1_200 for each in files_of(path))
    left = [json.loads(each)["number"] for file in files_of(path) for each in file.read_text().splitlines()]
    assert left == list(range(left[0], 101)), "in order, none doubled, none lost since the oldest"
    assert reading.read(), "who follows goes on in the new file"
    reading.close()


def _touched(path: Path) -> Path:
    path.touch()
    return path
