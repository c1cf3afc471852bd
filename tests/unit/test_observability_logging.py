"""Canary secrets in every slot a log line has; each must be gone from what was written."""

import base64
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import BaseModel, SecretStr

from observability import logging as our_logging
from observability.logging import (
    TraceIds,
    configure_logging,
    get_logger,
    log_context,
    restore_logging,
    use_trace_ids,
)
from observability.redaction import (
    REDACTED,
    register_secret,
)

CANARY = "canary/7f3a'\"é horse battery"
register_secret(CANARY)

ALPACA_KEY = "PKCANARY0123456789AB"
ALPACA_SECRET = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7d"


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    yield
    restore_logging()
    our_logging._trace_ids = None
    for name in ("ours", "theirs"):
        logging.getLogger(name).propagate = True
        logging.getLogger(name).handlers.clear()


def past_pytest(name: str) -> str:
    """Let ``name`` log to our handler alone: pytest's own raises on a record that cannot be formatted."""
    assert our_logging._installed is not None
    logging.getLogger(name).propagate = False
    logging.getLogger(name).handlers = [our_logging._installed.handler]
    return name


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    configure_logging("gateway", json=True, stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_when_who_what(stream: io.StringIO) -> None:
    with log_context(signal_id="sig_112"):
        get_logger("orders").info("order placed", quantity=Decimal("10.50"), latency_ms=12.5)
    (line,) = lines(stream)
    at = datetime.fromisoformat(line.pop("timestamp"))
    assert at.utcoffset() == UTC.utcoffset(None)
    assert line == {
        "level": "info",
        "service": "gateway",
        "mode": "paper",
        "logger": "orders",
        "event": "order placed",
        "signal_id": "sig_112",
        "quantity": "10.50",
        "latency_ms": 12.5,
    }


def test_context_ends_with_its_block(stream: io.StringIO) -> None:
    with log_context(signal_id="sig_112"):
        pass
    get_logger("orders").info("after")
    assert "signal_id" not in lines(stream)[0]


def test_libraries_that_log_by_the_standard_library_take_the_same_way(stream: io.StringIO) -> None:
    with log_context(signal_id="sig_112"):
        logging.getLogger("temporalio").warning(
            "polled %s times", 3, extra={"queue": "orders", "token": CANARY}
        )
    (line,) = lines(stream)
    assert line["event"] == "polled 3 times"
    assert (line["signal_id"], line["queue"], line["token"]) == ("sig_112", "orders", REDACTED)


def test_level_is_a_threshold(stream: io.StringIO) -> None:
    get_logger("orders").debug("quiet")
    logging.getLogger("asyncpg").debug("quiet")
    assert lines(stream) == []


def test_trace_ids_join_a_line_to_its_trace(stream: io.StringIO) -> None:
    use_trace_ids(lambda: TraceIds("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"))
    get_logger("orders").info("placed")
    assert lines(stream)[0]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert lines(stream)[0]["span_id"] == "b7ad6b7169203331"


class Model(BaseModel):
    """Stands for any of our models on a log line."""

    note: str
    api_key: str
    wrapped: SecretStr


@dataclass
class Plain:
    """Stands for any dataclass on a log line."""

    password: str
    limit: int


class Hostile:
    """An object whose text is the secret, or that cannot be shown at all."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails

    def __repr__(self) -> str:
        if self.fails:
            raise RuntimeError(CANARY)
        return f"Hostile({CANARY})"


SLOTS: dict[str, Any] = {
    "field": CANARY,
    "inside_a_text": f"broker said {CANARY} and more",
    "list": ["a", CANARY],
    "tuple": (CANARY, CANARY, CANARY),
    "set": {CANARY},
    "nested": {"a": [{"b": {"c": CANARY}}]},
    "as_a_key": {CANARY: 1},
    "url_encoded": f"/v2?x={quote(CANARY)}",
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "as_json": json.dumps({"v": CANARY}),
    "as_repr": repr({"v": CANARY}),
    "model": Model(note=CANARY, api_key="short", wrapped=SecretStr("in plain words")),
    "dataclass": Plain(password="in plain words", limit=3),
    "object": Hostile(fails=False),
    "broken_object": Hostile(fails=True),
    "enum": Enum("Made", {"A": CANARY})["A"],
    "bytes": CANARY.encode(),
    "error": ValueError(CANARY),
    "too_deep": [[[[[[[[[[CANARY]]]]]]]]]],
    "headers": [("APCA-API-SECRET-KEY", "in plain words"), ("Accept", "json")],
}


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("as_json", [True, False])
def test_no_slot_shows_a_secret(slot: str, as_json: bool) -> None:
    stream = io.StringIO()
    configure_logging("gateway", json=as_json, stream=stream)
    value = SLOTS[slot]
    ours, theirs = get_logger(past_pytest("ours")), logging.getLogger(past_pytest("theirs"))
    ours.info("by field", value=value)
    ours.info("by argument %s", value)
    theirs.info("by extra", extra={"value": value})
    theirs.info("by argument %s", value)
    with log_context(value=value):
        ours.info("by context")
    text = stream.getvalue()
    for forbidden in (
        "horse battery",
        "horse%20battery",
        "in plain words",
        base64.b64encode(CANARY.encode()).decode(),
    ):
        assert forbidden not in text
    for written in ("by field", "by argument", "by extra", "by context"):
        assert written in text


@pytest.mark.parametrize("as_json", [True, False])
def test_an_exception_shows_neither_locals_nor_secrets(as_json: bool) -> None:
    stream = io.StringIO()
    configure_logging("execution", json=as_json, stream=stream)

    def fails() -> None:
        local = "never seen qzx7"
        try:
            raise KeyError(CANARY)
        except KeyError as cause:
            error = ValueError(f"cannot sign with {CANARY}, api_key={local[-4:]}")
            error.add_note(f"tried {CANARY}")
            raise error from cause

    try:
        fails()
    except ValueError:
        get_logger("ours").exception("placing failed")
        logging.getLogger("theirs").exception("placing failed")
    text = stream.getvalue()
    assert text.count("ValueError") >= 2
    assert text.count("KeyError") >= 2
    assert "cannot sign with" in text
    assert "horse" not in text
    if as_json:
        # Source lines stand in a text traceback; values of local variables stand nowhere.
        assert "never seen" not in text
        assert "qzx7" not in text
    else:
        assert "api_key=[redacted]" in text


def test_a_record_that_cannot_be_formatted_does_not_show_its_arguments(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger(past_pytest("theirs")).info("%d", CANARY)
    assert lines(stream) == [
        {"level": "error", "event": "log line lost: TypeError", "at": lines(stream)[0]["at"]}
    ]
    assert capsys.readouterr().err == ""


def test_lines_for_people_cannot_be_forged_and_have_no_colours_off_a_terminal() -> None:
    stream = io.StringIO()
    configure_logging("gateway", json=False, stream=stream)
    log = get_logger("ours")
    log.info("refused", ticker="AAPL\n2026-11-23 [info] released\x1b[31m\x07\x9b2J", side="\x1b[2J\x9b2J")
    log.info("%s", "refused\n2026-11-23 [info] released\x1b[2J")
    text = stream.getvalue()
    assert text.count("\n") == 2
    assert not any(character in text for character in "\x1b\x07\x9b")
    assert "refused" in text
    assert "AAPL" in text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_lines_for_people_in_colour_and_a_file_gets_json() -> None:
    terminal, file = Terminal(), io.StringIO()
    configure_logging("gateway", stream=terminal)
    get_logger("ours").info("ready")
    configure_logging("gateway", stream=file)
    get_logger("ours").info("ready")
    assert "\x1b[" in terminal.getvalue()
    assert "ready" in terminal.getvalue()
    assert json.loads(file.getvalue())["event"] == "ready"


def test_a_log_file_is_private_and_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "gateway.log"
    for event in ("first", "second"):
        configure_logging("gateway", file=file)
        get_logger("ours").info(event)
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()] == ["first", "second"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_everything_is_put_back(stream: io.StringIO) -> None:
    hooks = (sys.excepthook, threading.excepthook)
    restore_logging()
    assert (sys.excepthook, threading.excepthook) != hooks
    logging.getLogger("theirs").error("to nobody")
    assert stream.getvalue() == ""
    restore_logging()


def test_an_unknown_level_changes_nothing(stream: io.StringIO) -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging("risk", level="LOUD", stream=io.StringIO())
    logging.getLogger("theirs").error("still here")
    assert lines(stream)[0]["service"] == "gateway"


def test_stream_and_file_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not both"):
        configure_logging("gateway", stream=io.StringIO(), file=tmp_path / "x.log")


def test_uncaught_exceptions_and_warnings_leave_as_redacted_json() -> None:
    """In a child process: its standard error is all that a supervisor ever sees of a crash."""
    program = (
        "import threading, warnings\n"
        "from observability.logging import configure_logging, register_secret\n"
        f"configure_logging('risk'); secret = {CANARY!r}; register_secret(secret)\n"
        "warnings.warn('old ' + secret, UserWarning)\n"
        "def fails(): raise OSError('thread ' + secret)\n"
        "t = threading.Thread(target=fails); t.start(); t.join()\n"
        "raise RuntimeError('main ' + secret)\n"
    )
    root = Path(__file__).resolve().parents[2]
    child = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert child.returncode == 1
    written = [json.loads(line) for line in child.stderr.splitlines()]
    assert [line["logger"] for line in written] == ["py.warnings", "uncaught", "uncaught"]
    assert written[1]["exception"][0]["exc_value"] == f"thread {REDACTED}"
    assert written[2]["exception"][0]["exc_value"] == f"main {REDACTED}"
    assert "horse" not in child.stderr


def test_a_process_that_configures_no_logging_keeps_its_output_and_its_secrets() -> None:
    """A command prints JSON for a program to read: no line of a module it uses may come between."""
    program = (
        "from observability.logging import get_logger, register_secret\n"
        f"secret = {CANARY!r}; register_secret(secret)\n"
        "log = get_logger('market')\n"
        "log.info('not of interest')\n"
        "log.warning('100 %% stale: %s', secret, ticker='AAPL', api_key='in plain words')\n"
        "try:\n    raise ValueError(secret)\n"
        "except ValueError:\n    log.exception('lost 5 %')\n"
    )
    root = Path(__file__).resolve().parents[2]
    child = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert child.stdout == ""
    assert child.stderr.splitlines()[0] == f"100 % stale: {REDACTED} ticker=AAPL api_key={REDACTED}"
    assert child.stderr.count("Traceback") == 1
    assert f"ValueError: {REDACTED}" in child.stderr
    assert "horse" not in child.stderr


def test_logging_and_metrics_load_nothing_heavy() -> None:
    """A command that only logs must start in a tenth of a second."""
    program = (
        "import sys, observability.logging, observability.metrics\n"
        "heavy = {'opentelemetry', 'temporalio', 'pydantic', 'prometheus_client'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))\n"
    )
    root = Path(__file__).resolve().parents[2]
    child = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert child.stdout.strip() == "[]"
