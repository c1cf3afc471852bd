"""Log lines as JSON, one object a line, with nothing secret in them.

structlog is used as the *formatter* of the standard library's logging, so that Temporal, uvicorn, asyncpg and
every other library goes through the same redaction as we do. Fields of each line: ``timestamp`` (UTC, of the
record), ``level``, ``logger``, ``service``, ``mode``, ``event``; ``trace_id`` and ``span_id`` inside a span;
whatever ``log_context`` bound; whatever the call named; ``exception`` as a list of frames without local variables.

Call ``configure_logging`` once, first thing in a process. Our code logs with ``get_logger(__name__)``,
workflow code only with ``workflow.logger``, which ends here too.
"""

import logging
import re
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple, TextIO, cast

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from observability.log_files import RotatingFile
from observability.redaction import redact, redact_text, register_secret

__all__ = [
    "TraceIds",
    "configure_logging",
    "get_logger",
    "log_context",
    "register_secret",
    "restore_logging",
    "use_mode",
    "use_trace_ids",
]

EXCEPTION_FRAMES_MAX: Final = 30

# Everything below a blank but line break and tab, and the C1 range: what moves a terminal's cursor.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LINE_BREAKS = re.compile(r"[\n\t]")
_MULTI_LINE_FIELDS: Final = ("exception", "stack")
_LEADING_FIELDS: Final = ("timestamp", "level", "service", "mode", "logger", "event")


class TraceIds(NamedTuple):
    """W3C ids in lower-case hex: 32 and 16 characters."""

    trace_id: str
    span_id: str


MODE_UNTIL_KNOWN: Final = "paper"
_mode: str = MODE_UNTIL_KNOWN
_trace_ids: Callable[[], TraceIds | None] | None = None
_installed: "_Installed | None" = None


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that takes fields by name: ``get_logger(__name__).info("order placed", ticker="AAPL")``."""
    return cast(
        structlog.stdlib.BoundLogger,
        structlog.wrap_logger(
            logging.getLogger(name),
            processors=[
                structlog.stdlib.filter_by_level,
                *_fields_of_every_record(),
                _format_arguments,
                structlog.processors.StackInfoRenderer(),
                _for_our_formatter_or_plain,
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            cache_logger_on_first_use=True,
        ),
    )


def log_context(**fields: object) -> AbstractContextManager[None]:
    """Put ``fields`` (``signal_id``, ``client_order_id``) on every line of this task until the block ends."""
    return bound_contextvars(**fields)


def use_trace_ids(source: Callable[[], TraceIds | None]) -> None:
    """Ask ``source`` for the current span at each line. Tracing calls this: logging need not import it."""
    global _trace_ids  # noqa: PLW0603 - one span source a process
    _trace_ids = source


def use_mode(mode: str) -> None:
    """Whether this process' lines are of paper or of live trading, from now on."""
    global _mode  # noqa: PLW0603 - one installation a process
    _mode = mode


TALKATIVE = ("boto3", "botocore", "hvac", "urllib3", "websockets")
"""At DEBUG these write whole requests and answers, of which some are nothing but secrets: they never do."""


def configure_logging(
    service: str,
    *,
    level: str = "INFO",
    json: bool | None = None,
    stream: TextIO | None = None,
    file: Path | None = None,
    mode: str | None = None,
) -> None:
    """Send every log record of this process through the redacting formatter. A later call replaces it.

    Args:
        service: name of the process (``gateway``, ``execution``), on every line.
        level: threshold for all loggers, a standard name.
        json: JSON lines if true, lines for people if false; by default people at a terminal, JSON elsewhere.
        stream: where to write; standard error by default.
        file: append to this file of this process (readable by its owner only, begun anew when it is full)
            instead of a stream.
        mode: on every line, ``paper`` or ``live``; see `use_mode`.

    Also routes ``warnings`` and uncaught exceptions of any thread here: Python's own printing would show
    an exception's text unredacted.

    Raises:
        ValueError: both ``stream`` and ``file`` given, or an unknown level.
    """
    global _installed  # noqa: PLW0603 - the root logger is one a process
    if stream is not None and file is not None:
        raise ValueError("log to a stream or to a file, not both: leave one out")
    if level not in logging.getLevelNamesMapping():
        raise ValueError(f"no log level {level!r}: use DEBUG, INFO, WARNING, ERROR or CRITICAL")
    opened = cast(IO[str], RotatingFile(file)) if file else stream or sys.stderr
    handler = _Handler(opened, owned=file is not None)
    as_json = not handler.is_terminal if json is None else json
    handler.setFormatter(_formatter(service, as_json, colours=handler.is_terminal))
    restore_logging()
    if mode is not None:
        use_mode(mode)
    root = logging.getLogger()
    _installed = _Installed(handler, root.level, sys.excepthook, threading.excepthook)
    root.addHandler(handler)
    root.setLevel(level)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def restore_logging() -> None:
    """Put back what ``configure_logging`` found: root level, hooks, no handler of ours."""
    global _installed, _mode  # noqa: PLW0603 - the root logger is one a process
    if _installed is None:
        return
    _mode = MODE_UNTIL_KNOWN
    root = logging.getLogger()
    root.removeHandler(_installed.handler)
    root.setLevel(_installed.root_level)
    _installed.handler.close()
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook = _installed.excepthook, _installed.thread_excepthook
    _installed = None


def _fields_of_every_record() -> list[Processor]:
    return [merge_contextvars, structlog.stdlib.add_logger_name, structlog.stdlib.add_log_level]


def _formatter(service: str, as_json: bool, *, colours: bool) -> logging.Formatter:
    def add_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["mode"] = _mode
        return event

    exceptions: Processor
    rendering: list[Processor]
    if as_json:
        frames = structlog.tracebacks.ExceptionDictTransformer(
            show_locals=False, max_frames=EXCEPTION_FRAMES_MAX
        )
        exceptions = structlog.processors.ExceptionRenderer(frames)
        rendering = [structlog.processors.JSONRenderer()]
    else:
        exceptions = structlog.processors.format_exc_info
        plain = structlog.dev.plain_traceback
        rendering = [
            _escape_controls,
            structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain),
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_fields_of_every_record(), structlog.stdlib.ExtraAdder()],
        processors=[
            _add_time_and_trace,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            add_service,
            exceptions,
            # Last before rendering: nothing may join the line behind the redaction.
            _redact_event,
            *rendering,
        ],
    )


def _for_our_formatter_or_plain(
    logger: logging.Logger, name: str, event: EventDict
) -> tuple[tuple[object], dict[str, object]]:
    """Without ``configure_logging`` (a command, a test) a line is one redacted text for whoever listens."""
    if _installed is not None:
        return cast(
            tuple[tuple[object], dict[str, object]],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter(logger, name, event),
        )
    clean = _redact_event(logger, name, structlog.processors.format_exc_info(logger, name, event))
    text, exception = clean.pop("event", ""), clean.pop("exception", "")
    fields = "".join(f" {key}={value}" for key, value in clean.items() if key not in _LEADING_FIELDS)
    # Logger.exception would add the raw traceback again.
    return (f"{text}{fields}" + (f"\n{exception}" if exception else ""),), {"exc_info": False}


def _format_arguments(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """``info("polled %s", queue)``; a wrong format or an object without a text is said, never raised."""
    arguments = event.pop("positional_args", ())
    try:
        event["event"] = event["event"] % arguments if arguments else event["event"]
    except Exception as error:  # noqa: BLE001 - a foreign __str__ may raise anything; logging must not
        event["arguments_lost"] = type(error).__name__
    return event


def _add_time_and_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    created = datetime.fromtimestamp(record.created, UTC)
    event["timestamp"] = created.isoformat(timespec="microseconds").replace("+00:00", "Z")
    ids = _trace_ids() if _trace_ids is not None else None
    if ids is not None:
        event["trace_id"], event["span_id"] = ids
    return event


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    names = [
        *(name for name in _LEADING_FIELDS if name in event),
        *(n for n in event if n not in _LEADING_FIELDS),
    ]
    return {redact_text(str(name)): redact(event[name], str(name)) for name in names}


def _escape_controls(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A ticker or a broker's message must not paint on the operator's terminal or forge a second line."""
    for key, value in event.items():
        if isinstance(value, str):
            clean = _CONTROL.sub(_as_escape, value)
            event[key] = clean if key in _MULTI_LINE_FIELDS else _LINE_BREAKS.sub(_as_escape, clean)
    return event


def _as_escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


class _Handler(logging.StreamHandler[IO[str]]):
    """Never shows a record that it could not format: the standard handler prints the raw arguments."""

    def __init__(self, stream: IO[str], *, owned: bool) -> None:
        super().__init__(stream)
        self._owned = owned
        self.is_terminal = stream.isatty()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        failure = sys.exc_info()[0]
        what = failure.__name__ if failure else "unknown"
        try:
            place = f"{Path(record.pathname).name}:{record.lineno}"
            self.stream.write(f'{{"level": "error", "event": "log line lost: {what}", "at": "{place}"}}\n')
            self.flush()
        except (OSError, ValueError):
            return  # the stream itself is gone: nowhere left to say so

    def close(self) -> None:
        if self._owned:
            self.stream.close()
        super().close()


class _Installed(NamedTuple):
    """Our handler and what stood before it."""

    handler: _Handler
    root_level: int
    excepthook: Callable[[type[BaseException], BaseException, TracebackType | None], object]
    thread_excepthook: Callable[[threading.ExceptHookArgs], object]


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("uncaught").critical("the process ends on an error", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is None or issubclass(arguments.exc_type, SystemExit):
        return
    name = arguments.thread.name if arguments.thread else "unknown"
    error = (arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
    logging.getLogger("uncaught").critical("thread %s ends on an error", name, exc_info=error)
