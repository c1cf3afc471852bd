"""``trading exchange faults add|list|clear``: order faults at a running paper exchange, by its URL and keys."""

import argparse
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import ValidationError

from simulation.fault_plan import FaultPlan, WrongPlan, problems_of
from simulation.faults import Action, Fault
from simulation.mixes import mix_names, named_plan

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_DEPENDENCY: Final = 3
HTTP_TIMEOUT_SECONDS: Final = 10.0
URL_VARIABLE: Final = "EXCHANGE_URL"
_MATCHES: Final = ("method", "path", "client_order_id", "symbol", "stream", "event")
_OPTIONS: Final = ("times", "skip", "probability", "latency_ms", "lasts_ms", "skew_ms", "price", "qty")


class Unreachable(Exception):
    """No exchange answers there."""


class Refused(Exception):
    """The exchange does not want it; the message is its own."""


def options_parser() -> argparse.ArgumentParser:
    """What ``trading exchange faults`` takes."""
    parser = argparse.ArgumentParser(
        prog="trading exchange faults", description="Order faults at a running paper exchange."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="add|list|clear")
    add = commands.add_parser("add", help="order one fault, or a whole plan")
    add.add_argument(
        "action", nargs="?", choices=get_args(Action), metavar="ACTION", help="what shall happen"
    )
    add.add_argument("--plan", metavar="FILE|NAME", help=f"a plan; known names: {', '.join(mix_names())}")
    add.add_argument("--seed", type=int, metavar="N", help="of the plan's chances")
    for name in _MATCHES:
        add.add_argument(_option(name), help="which occasions; * is allowed" if name == "path" else None)
    for name in _OPTIONS:
        add.add_argument(_option(name), help="null: without end" if name == "times" else None)
    clear = commands.add_parser("clear", help="forget what is on order")
    clear.add_argument("--plan", metavar="NAME", help="of that plan only")
    for command in (
        add,
        clear,
        commands.add_parser("list", help="what is on order, with what is left of it"),
    ):
        command.add_argument("--url", help=f"the exchange's address; default {URL_VARIABLE}")
        command.add_argument("--key", help="API key; default EXCHANGE_KEY")
        command.add_argument("--secret", help="API secret; default EXCHANGE_SECRET")
        command.add_argument("--key-file", type=Path, help="file that holds the API key")
        command.add_argument("--secret-file", type=Path, help="file that holds the API secret")
        command.add_argument("--json", action="store_true", help="one JSON value")
    return parser


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _ordered(given: argparse.Namespace) -> Fault | FaultPlan:
    """What the options ask for. Raises WrongPlan, OSError."""
    if (given.action is None) == (given.plan is None):
        raise WrongPlan({"action": "name either an ACTION or a --plan"})
    named = {name: getattr(given, name) for name in (*_MATCHES, *_OPTIONS)}
    chosen = {name: value for name, value in named.items() if value is not None}
    if given.plan is not None:
        if chosen:
            raise WrongPlan(dict.fromkeys(chosen, "a plan says this itself"))
        return named_plan(given.plan, given.seed)
    if given.seed is not None:
        raise WrongPlan({"seed": "goes with --plan; of a single fault the exchange's --fault-seed counts"})
    match = {name: chosen.pop(name) for name in _MATCHES if name in chosen}
    if chosen.get("times") == "null":
        chosen["times"] = None
    try:
        return Fault.model_validate({"action": given.action, "match": match, **chosen})
    except ValidationError as error:
        raise WrongPlan(problems_of(error)) from None


class _Running:
    """The control routes of a running exchange."""

    def __init__(self, given: argparse.Namespace, environment: Mapping[str, str]) -> None:
        """Raises WrongPlan for an address or key nobody gave, OSError for a file that cannot be read."""
        self._url = (given.url or environment.get(URL_VARIABLE) or "").rstrip("/")
        if not self._url.startswith(("http://", "https://")):
            raise WrongPlan(
                {"--url": f"the exchange's address, like http://127.0.0.1:8900, or {URL_VARIABLE}"}
            )
        self._headers = {
            "APCA-API-KEY-ID": _secret("key", given, environment),
            "APCA-API-SECRET-KEY": _secret("secret", given, environment),
        }

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer to one request. Raises Refused, Unreachable."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - checked above
            f"{self._url}/_exchange/{path}", content, self._headers, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=HTTP_TIMEOUT_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(_message(error)) from None
        except (OSError, ValueError) as error:
            raise Unreachable(f"no exchange answers at {self._url}: {error}") from None


def _secret(name: str, given: argparse.Namespace, environment: Mapping[str, str]) -> str:
    variable, file = f"EXCHANGE_{name.upper()}", getattr(given, f"{name}_file")
    value = getattr(given, name) or (file and file.read_text().strip()) or environment.get(variable)
    if not value:
        raise WrongPlan({f"--{name}": f"the API {name} of the exchange, or {variable}"})
    return str(value)


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"


def _run(given: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Raises WrongPlan, OSError, Refused, Unreachable."""
    if given.command == "add":
        ordered = _ordered(given)
        _Running(given, environment).ask("POST", "faults", ordered.as_json())
        _tell(given, ordered.as_json(), [ordered] if isinstance(ordered, Fault) else ordered.faults)
        return
    running = _Running(given, environment)
    if given.command == "clear":
        query = "" if given.plan is None else "?" + urllib.parse.urlencode({"plan": given.plan})
        running.ask("DELETE", f"faults{query}")
    pending = running.ask("GET", "faults")
    _tell(given, pending, pending)


def _tell(given: argparse.Namespace, whole: Any, rows: Sequence[Fault | Mapping[str, Any]]) -> None:
    if given.json:
        sys.stdout.write(json.dumps(whole) + "\n")
        return
    for row in rows:
        sys.stdout.write(_line(row.as_json() if isinstance(row, Fault) else row) + "\n")
    if not rows:
        sys.stdout.write("nothing is on order\n")


def _line(row: Mapping[str, Any]) -> str:
    told = dict(row)
    action, match, times = told.pop("action"), told.pop("match", {}), told.pop("times")
    where = " ".join(f"{name}={value}" for name, value in match.items()) or "everything"
    options = " ".join(f"{name}={value}" for name, value in told.items() if value)
    return f"{action}  on {where}  {'without end' if times is None else f'times={times}'}  {options}".rstrip()


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Exit codes: 0 done, 1 refused, 2 bad usage, 3 no exchange answers."""
    given = options_parser().parse_args(arguments)
    try:
        _run(given, environment)
    except BrokenPipeError:
        return EXIT_DONE
    except (WrongPlan, OSError) as error:
        return _failed(error, EXIT_USAGE)
    except Refused as error:
        return _failed(error, EXIT_REFUSED)
    except Unreachable as error:
        return _failed(error, EXIT_DEPENDENCY)
    return EXIT_DONE


def _failed(error: Exception, code: int) -> int:
    sys.stderr.write(f"exchange faults: {error}\n")
    return code
