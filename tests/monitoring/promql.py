"""The metrics and labels that a PromQL expression names; promtool says whether it is one, this what it is about."""

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from observability.catalog import SCRAPED, SDK, SERVER, TARGET_LABELS, families
from tests.servers.processes import REPOSITORY
from tests.servers.session import unavailable
from workers.metric_docs import rules

DEPLOY = REPOSITORY / "deploy"
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
RULE_TESTS = sorted((DEPLOY / "prometheus" / "tests").glob("*.yml"))
PROMTOOL, PROMETHEUS = Path("/usr/bin/promtool"), Path("/usr/bin/prometheus")
AMTOOL, ALERTMANAGER = Path("/usr/bin/amtool"), Path("/usr/bin/prometheus-alertmanager")

WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(?P<matchers>[^}]*)\})?(?P<call>\s*\()?")
MATCHER = re.compile(r'([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"')


@dataclass(frozen=True)
class Named:
    """What an expression is about."""

    metrics: Mapping[str, frozenset[str]]
    """The labels that each metric is selected by."""
    grouped: frozenset[str]
    """Labels that are kept or joined on."""


def named(expression: str) -> Named:
    """Take an expression apart."""
    grouped: set[str] = set()
    for labels in GROUPING.findall(expression):
        grouped |= {each.strip() for each in labels.split(",") if each.strip()}
    rest = re.sub(r"\[[^\]]*\]", "", GROUPING.sub(" ", expression))
    metrics: dict[str, set[str]] = {}
    for found in SELECTOR.finditer(rest):
        if found["call"] is None and found["name"].lower() not in WORDS:
            metrics.setdefault(found["name"], set()).update(MATCHER.findall(found["matchers"] or ""))
    return Named({name: frozenset(labels) for name, labels in metrics.items()}, frozenset(grouped))


@cache
def known() -> Mapping[str, frozenset[str]]:
    """Every name that a query may use, with its labels: ours, the SDK's and others', and what rules record."""
    found: dict[str, frozenset[str]] = {}
    for family in families():
        for name, labels in family.samples.items():
            found[name] = frozenset((*labels, *TARGET_LABELS))
    for foreign in (*SDK, *SERVER, *SCRAPED):
        for name, labels in foreign.samples.items():
            found[name] = frozenset((*labels, *TARGET_LABELS))
    # What is recorded is over all processes: the scraped form of these names is dropped.
    found |= {rule["record"]: frozenset() for rule in rules() if "record" in rule}
    return found


def faults(expression: str) -> list[str]:
    """What the expression names that does not exist."""
    names = known()
    about = named(expression)
    found = [f"no metric {name}" for name in about.metrics if name not in names]
    for name, labels in about.metrics.items():
        found += [f"{name} has no label {label}" for label in labels - names.get(name, labels)]
    every = frozenset[str]().union(*(names.get(name, frozenset()) for name in about.metrics))
    return found + [f"nothing here has a label {label}" for label in about.grouped - every]


def program(path: Path) -> str:
    """A program of Debian's, or skip; in CI it must be there."""
    if not path.exists():
        unavailable(f"{path.name} is not installed: make install-servers")
    return str(path)


def promtool(*arguments: object) -> str:
    """Run it; its words are the failure."""
    told = subprocess.run(
        [program(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def check_expressions(expressions: Iterable[str], folder: Path) -> None:
    """Have promtool parse each: this version of it reads expressions in rules only."""
    file = folder / "expressions.yml"
    made = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions)]
    assert made
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
    promtool("check", "rules", file)
