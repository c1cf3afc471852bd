"""The command line ``trading``: which commands there are, and how each ends.

A command is imported when it is called, so that ``--help`` and ``status`` answer at once.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from console.errors import (
    EXIT_BROKEN_PIPE,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    BadUsage,
    CommandFailed,
)

if TYPE_CHECKING:
    from cyclopts import App, CycloptsError

DEBUG_VARIABLE: Final = "TRADING_DEBUG"

_HELP: Final = """\
The gate through which a trade idea becomes a broker order. Paper trading; not financial advice.

Exit codes: 0 done, 1 refused or found wrong, 2 bad usage, 3 a dependency is down.
"""

_COMMANDS: Final = (
    ("Run", "up", "console.processes:up", "Run everything on this machine until Ctrl-C."),
    ("Run", "demo", "console.demo:demo", "Start everything in a temporary folder, trade the examples, stop."),
    ("Run", "worker", "console.processes:worker", "Run one process of the product."),
    ("Run", "exchange", "console.processes:exchange", "Run the paper exchange alone."),
    ("Run", "migrate", "console.processes:migrate", "Bring the database to this release's schema."),
    ("Trade", "orders", "console.orders:orders", "List orders, newest first."),
    ("Trade", "positions", "console.accounts:positions", "List positions by ticker and strategy."),
    ("Trade", "account", "console.accounts:account", "Show the last account snapshot."),
    (
        "Trade",
        "books",
        "console.books:books",
        "Compute the books anew from executions and journal, and compare.",
    ),
    ("Operate", "alerts", "console.alerts:app", "List what is wrong and lasts; --all: what is over too."),
    ("Operate", "limits", "console.limits:app", "Show, set and clear limits; who set which, and why."),
    ("Operate", "lock", "console.locks:lock", "Let nothing new be opened in a ticker; closes pass."),
    ("Operate", "unlock", "console.locks:unlock", "Lift the locks of a ticker."),
    ("Operate", "locks", "console.locks:locks", "List locked tickers: until when, why, by whom."),
    ("Operate", "status", "console.status:status", "Show kill switch, open orders, stream, clock, limits."),
    ("Operate", "kill", "console.kill:kill", "Engage the kill switch: no new orders, cancel the open ones."),
    ("Operate", "release", "console.release:release", "Release the kill switch with the operator key."),
    (
        "Operate",
        "reconcile",
        "console.reconcile:reconcile",
        "Compare our books with the broker's now.",
    ),
    (
        "Operate",
        "chaos",
        "console.processes:chaos",
        "Break everything on purpose; the exchange's ledger judges.",
    ),
    ("Operate", "live", "console.live:app", "Whether orders may go to the live brokerage; take that back."),
    (
        "Operate",
        "logs",
        "console.logs:logs",
        "Print log lines of all processes; --order: those of one order.",
    ),
    ("Operate", "keys", "console.keys:app", "List, rotate, retire or revoke the keys of approvals."),
    ("Operate", "builds", "console.builds:builds", "List builds: which gets new work, which still drain."),
    ("Operate", "promote", "console.builds:promote", "Give new work to a build, or back to a former one."),
    (
        "Operate",
        "drain",
        "console.builds:drain",
        "Move what is open on a former build to the current one now.",
    ),
    ("Operate", "doctor", "console.doctor:doctor", "Check every part and say what is wrong."),
)
_GROUPS: Final = (
    ("signal", "Propose trades and follow them.", (
        ("submit", "console.submit:submit", "Send signals: by options, from a JSON file, or - for stdin."),
        ("show", "console.signals:show", "Show one signal: decision, order, story."),
        ("list", "console.signals:list_signals", "List signals, newest first."),
    )),
    ("order", "Look at one order, or cancel it.", (
        ("show", "console.orders:show", "Show one order by its signal, internal, client or broker id."),
        ("cancel", "console.orders:cancel", "Ask for an order's cancel."),
    )),
    ("strategy", "Which strategies are disabled; disable one, or let it trade again.", (
        ("list", "console.strategies:list_strategies", "List disabled strategies; --all: those enabled again too."),
        ("disable", "console.strategies:disable", "Let a strategy open nothing."),
        ("enable", "console.strategies:enable", "Let a disabled strategy trade again, by a named person."),
    )),
    ("token", "Strategies' tokens: who may propose what.", (
        ("make", "console.tokens:make", "Make a token for one strategy or several; it is shown once."),
        ("list", "console.tokens:list_tokens", "List tokens with what each may, never a secret."),
        ("revoke", "console.tokens:revoke", "Let a token open nothing any more, at once."),
    )),
    ("people", "Who may use the operator console.", (
        ("list", "console.people:list_people", "List people: role, second factors, state, last seen."),
        ("invite", "console.people:invite", "Invite somebody; prints a link that works once."),
        ("first-admin", "console.people:first_admin", "Print the first Admin's link once more."),
        ("role", "console.people:role", "Give somebody another role."),
        ("disable", "console.people:disable", "Let somebody in no more, and sign them out everywhere."),
        ("enable", "console.people:enable", "Let a disabled person sign in again."),
        ("unlock", "console.people:unlock", "Forget somebody's wrong tries to sign in."),
        ("reset", "console.people:reset", "Take password and second factors away; prints a link for new ones."),
    )),
    ("equity", "What was lost today and of the peak.", (
        ("show", "console.equity:show", "Show equity, its session's start, its peak, and what may be lost."),
        ("reset-peak", "console.equity:reset_peak", "Measure the drawdown from equity as it is now."),
    )),
    ("audit", "Check, prove, read and export the audit log.", (
        ("verify", "console.audit:verify", "Compute the log's hashes anew and hold them against what was sealed."),
        ("prove", "console.audit_prove:prove", "Prove rows to somebody who trusts nothing but the log's key."),
        ("show", "console.audit_show:show", "Show the whole story of a signal or order, row by row."),
        ("export", "console.audit_export:export", "Write rows as files that can be checked without us."),
        ("rebuild", "console.audit_rebuild:rebuild", "Rebuild orders, executions and books from the log alone."),
        ("archives", "console.audit_cold:archives", "List what went to cold storage, and what was dropped."),
        ("restore", "console.audit_cold:restore", "Bring payloads back from cold storage for a while."),
        ("drop", "console.audit_cold:drop", "Let a month go that is older than seven years, for ever."),
    )),
    ("payloads", "The keys that payloads in Temporal are encrypted with.", (
        ("list", "console.payload_keys:list_keys", "List the keys' ids; the first encrypts."),
        ("add", "console.payload_keys:add", "Add a key that decrypts only, until it is used."),
        ("use", "console.payload_keys:use", "Encrypt with a key that every process knows."),
        ("drop", "console.payload_keys:drop", "Forget a key: what it has encrypted cannot be read any more."),
    )),
    ("events", "Follow what happens.", (
        ("tail", "console.events:tail", "Print events as they come; --json prints one object a line."),
        ("replay", "console.event_replay:replay", "Write past events to a file, or have a group told them again."),
        ("groups", "console.event_groups:groups", "List the groups of consumers and how far each is."),
        ("dead", "console.event_groups:dead", "List what a group could not take, or put it back."),
        ("consume", "console.event_consume:consume", "Take part in a group: print each event, or run a command."),
    )),
)  # fmt: skip
_PASSED_ON: Final = ("up", "worker", "exchange", "chaos")
"""Their options, ``--help`` too, belong to the process they become."""


def build_app() -> "App":
    """The commands, none of them imported yet."""
    from cyclopts import App

    app = App(
        name="trading",
        help=_HELP,
        version=_version,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )
    for group, name, path, text in _COMMANDS:
        options: dict[str, Any] = {"help_flags": [], "version_flags": []} if name in _PASSED_ON else {}
        app.command(path, name=name, help=text, group=group, **options)
    for name, text, commands in _GROUPS:
        sub = App(name=name, help=text, group="Trade")
        for command, path, about in commands:
            sub.command(path, name=command, help=about)
        app.command(sub)
    return app


def _version() -> str:
    from importlib.metadata import version

    return version("trading-interface")


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; whatever goes wrong is told without a traceback."""
    as_json = "--json" in arguments
    try:
        return _run(arguments)
    except CommandFailed as error:
        _tell(error, as_json=as_json)
        return error.exit_code
    except (BrokenPipeError, SystemExit):
        # SystemExit: rich's own answer to a broken pipe; nothing else here raises it.
        _silence()
        return EXIT_BROKEN_PIPE
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        what = f"unexpected {type(error).__name__}: {error}"
        _tell(CommandFailed(what, do=f"set {DEBUG_VARIABLE}=1 to see where"), as_json=as_json)
        return EXIT_REFUSED
    except BaseException as error:
        # Ctrl-C, or a cancelled task: by name, because importing asyncio here would cost every command.
        if type(error).__name__ not in ("KeyboardInterrupt", "CancelledError"):
            raise
        return EXIT_INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    from cyclopts import CycloptsError

    try:
        result = build_app()(
            list(arguments), exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        raise _wrong(error) from error
    return result if isinstance(result, int) else EXIT_DONE


def _wrong(error: "CycloptsError") -> BadUsage:
    """What is wrong with the command line, in words of ours where cyclopts has none for people."""
    from cyclopts import UnknownCommandError, UnusedCliTokensError

    error.verbose = False
    command = " ".join(("trading", *(error.command_chain or ())))
    unused = error.unused_tokens or [""]
    if isinstance(error, UnusedCliTokensError):
        what = f"`{command}` does not take: {' '.join(unused)}"
    elif isinstance(error, UnknownCommandError) and unused[0].startswith("-"):
        what = f"no such option {unused[0]}"
    else:
        what = str(error).replace("Unknown option: ", "no such option ", 1)
    return BadUsage(what if what.endswith("...") else what.removesuffix("."), do=f"see `{command} --help`")


def _tell(error: CommandFailed, *, as_json: bool) -> None:
    try:
        if as_json:
            from console.common import print_json

            print_json(error.as_json())
        else:
            sys.stderr.write(f"trading: {error.what}\n")
            if error.do:
                sys.stderr.write(f"  what to do: {error.do}\n")
    except OSError:  # nobody reads any more, or the disk is full
        _silence()


def _silence() -> None:
    """Send what is still buffered nowhere, so that no later flush complains."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def main() -> None:
    """Entry point of the program ``trading``; never returns."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # Started with the descriptor closed.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or EXIT_BROKEN_PIPE
    except OSError as error:
        sys.stderr.write(f"trading: the output cannot be written: {error}\n")
        code = code or EXIT_REFUSED
    # The SDK's threads can abort an interpreter that is shutting down (temporalio sdk-python issue 300).
    os._exit(code)


if __name__ == "__main__":
    main()
