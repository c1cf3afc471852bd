"""The options of an installation that say which market is played: recorded quotes, its clock, its speed."""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from pydantic import SecretStr, ValidationError

from simulation.settings import ExchangeSettings

REAL_TIME: Final = "1"


def add_market_options(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the options that ``chosen_options`` reads."""
    market = parser.add_argument_group("recorded quotes", "kept for later starts, like every exchange option")
    market.add_argument(
        "--market", action="append", default=[], metavar="FILE.csv.gz",
        help="SYMBOL-YYYYMMDD-RESOLUTION.csv.gz drives the market and its clock; may be given again",
    )  # fmt: skip
    market.add_argument("--start", help="where the market's clock begins, e.g. 2013-10-08T10:00:00-04:00")
    market.add_argument("--speed", help="market seconds in a real one, above 0 and at most 20 (1)")


def chosen_options(options: argparse.Namespace) -> tuple[str, ...]:
    """The same for the exchange; files by their full path, as they are kept for later starts."""
    files = (f"--market={Path(file).expanduser().absolute()}" for file in options.market)
    single = ((name, getattr(options, name)) for name in ("start", "speed"))
    return (*files, *(f"--{name}={value}" for name, value in single if value is not None))


def wrong_options(options: Sequence[str]) -> list[str]:
    """What cannot be about the market options among these, told before anything is started."""
    wrong = [
        f"--market: there is no file {file}" for file in _values(options, "market") if not _is_file(file)
    ]
    named = {name: values[-1] for name in ("start", "speed") if (values := _values(options, name))}
    try:
        settings = ExchangeSettings.model_validate(
            {"key": SecretStr("-"), "secret": SecretStr("-"), "data_dir": Path(), **named}
        )
    except ValidationError as error:
        return wrong + [f"--{problem['loc'][0]}: {problem['msg']}" for problem in error.errors()]
    if settings.speed == 0:
        wrong.append("--speed: Input should be greater than 0: on a market that stands still nothing ends")
    return wrong


def market_speed(options: Sequence[str]) -> str:
    """Market seconds in a real one, as the product must know them too: how old a quote is depends on it."""
    return (_values(options, "speed") or [REAL_TIME])[-1]


def requests_per_minute(options: Sequence[str]) -> str:
    """The exchange's request limit, which the product must stay below."""
    named = _values(options, "requests-per-minute")
    return named[-1] if named else str(ExchangeSettings.model_fields["requests_per_minute"].default)


def _is_file(name: str) -> bool:
    return Path(name).is_file()


def _values(options: Sequence[str], name: str) -> list[str]:
    """What an option was given, ``--speed=2`` and ``--speed 2`` alike."""
    found = [option.partition("=")[2] for option in options if option.startswith(f"--{name}=")]
    pairs = pairwise(options)
    return found + [value for option, value in pairs if option == f"--{name}"]
