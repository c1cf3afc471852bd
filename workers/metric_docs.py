"""docs/METRICS.md, written from the metrics and the rule files: ``python -m workers.metric_docs [FILE]``."""

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from observability.catalog import LABELS, SCRAPED, SDK, SERVER, Described, Foreign, families
from workers.doc_pages import table, write_page

ROOT: Final = Path(__file__).parents[1]
FILE: Final = ROOT / "docs" / "METRICS.md"
RULES: Final = ROOT / "deploy" / "prometheus" / "rules"

_HEAD: Final = """\
# Metrics

Made from the code and `deploy/prometheus/rules/` by `make docs`; a test compares them. Edit those, not this page.

Each process serves `GET /metrics` for Prometheus, without a token and without anything that identifies an order, an
account or a person: the gateway (and `trading up`) on its own port, every other process on `TRADING_METRICS_PORT`
(9464 in [docker-compose.temporal.yml](../docker-compose.temporal.yml)). The Temporal SDK's own metrics stand on the
same page. A gauge that a process has never read is absent, not 0; those that operations read from rows are the
same in every operations process: take the largest, not the sum.

[deploy/prometheus](../deploy/prometheus) scrapes all of them and holds the rules,
[deploy/alertmanager](../deploy/alertmanager) says who is told, [deploy/grafana](../deploy/grafana) holds four
dashboards. What to do when a rule fires: [RUNBOOK.md](RUNBOOK.md#alerts-of-prometheus).
To watch a `trading up`, scrape its one page (`metrics_url` in `run/addresses.json` of its folder) under the label
`process: compact`, and leave out `rules/containers.yml`.

`broker_api_error_rate` and `signal_rejection_percentage` are both: each process shows its own share of the last
five minutes under that name, for whoever reads a page by hand; in Prometheus the name is a recording rule over all
processes, and the processes' own are dropped when they are scraped.

## Ours

"""


def document() -> str:
    """The whole page."""
    parts = [
        _HEAD,
        _families(families()),
        "\n### Labels\n\n",
        table(("label", "values"), ((f"`{label}`", LABELS[label]) for label in sorted(LABELS))),
        "\nPrometheus adds `job`, `process` (the service's name) and `instance`.\n",
        "\n## Recording rules\n\n",
        table(("name", "what Prometheus computes"), _records()),
        "\n## Alert rules\n\n",
        table(("alert", "severity", "fires when", "for", "told by"), _alerts()),
        "\n`told by` *the product*: it tells Slack and PagerDuty itself, from a row and within two seconds;\n",
        "Alertmanager does so only while `ProductTells` does not fire.\n",
        "\n## Of the Temporal SDK\n\n",
        "On the same page. Those that a rule or a dashboard of ours relies on; there are more.\n\n",
        _families(SDK),
        "\n## Of others\n\n",
        "Of Temporal's server (port 8000 in the Compose file), of Prometheus and of Alertmanager.\n\n",
        _families((*SERVER, *SCRAPED)),
    ]
    return "".join(parts)


@cache
def rules() -> list[dict[str, Any]]:
    """Every rule of deploy/prometheus/rules, file by file. Change nothing in it."""
    import yaml

    return [
        rule
        for file in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


def _families(described: Iterable[Described | Foreign]) -> str:
    return table(
        ("name", "type", "unit", "labels", "meaning"),
        (
            (
                f"`{each.name}`",
                each.kind,
                each.unit,
                ", ".join(f"`{label}`" for label in each.labels) or "none",
                each.text,
            )
            for each in described
        ),
    )


def _records() -> Iterable[tuple[str, ...]]:
    return ((f"`{rule['record']}`", _expression(rule)) for rule in rules() if "record" in rule)


def _alerts() -> Iterable[tuple[str, ...]]:
    for rule in rules():
        if "alert" in rule:
            teller = "the product" if rule["labels"].get("told") == "product" else "Alertmanager"
            severity = rule["labels"]["severity"]
            yield (
                f"[{rule['alert']}](RUNBOOK.md#{rule['alert'].lower()})",
                severity,
                _expression(rule),
                rule.get("for", "at once"),
                "nobody" if severity == "none" else teller,
            )


def _expression(rule: dict[str, Any]) -> str:
    return f"`{' '.join(rule['expr'].split())}`"


if __name__ == "__main__":
    sys.exit(write_page(sys.argv[1:], FILE, document))
