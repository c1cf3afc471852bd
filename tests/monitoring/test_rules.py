"""Alert rules: that they fire when they should and not before, and that each is about something that exists."""

import re
from itertools import groupby
from typing import Any

import pytest
import yaml

from schemas.alerts import AlertCode, Severity
from tests.monitoring.promql import RULE_TESTS, RULES, faults, named, promtool
from tests.tidy.test_files import headings
from tests.tidy.tree import ROOT
from workers.metric_docs import FILE, document, rules

ALERTS = [rule for rule in rules() if "alert" in rule]
FIRING = re.compile(r'count\(ALERTS\{alertname="(\w+)",alertstate="firing"\}\)')


def test_the_page_about_metrics_is_what_the_code_says() -> None:
    assert FILE.read_text() == document(), "make docs"


def test_promtool_reads_every_rule() -> None:
    assert promtool("check", "rules", *RULES).count("SUCCESS") == len(RULES)


def test_every_alert_fires_when_it_should() -> None:
    """How: promtool plays the series of deploy/prometheus/tests, hours of them in a second."""
    assert promtool("test", "rules", *RULE_TESTS).count("SUCCESS") == len(RULE_TESTS)


def played() -> dict[str, list[list[bool]]]:
    """For each alert and each of its tests, whether it fires, in order of time."""
    found: dict[str, list[list[bool]]] = {}
    for file in RULE_TESTS:
        for test in yaml.safe_load(file.read_text())["tests"]:
            looks: dict[str, list[bool]] = {}
            for look in test["promql_expr_test"]:
                if about := FIRING.fullmatch(look["expr"]):
                    looks.setdefault(about[1], []).append(bool(look["exp_samples"]))
            for name, fires in looks.items():
                found.setdefault(name, []).append(fires)
    return found


@pytest.mark.parametrize("alert", [rule["alert"] for rule in ALERTS])
def test_every_alert_is_played_silent_firing_and_silent_again(alert: str) -> None:
    courses = [[fires for fires, _ in groupby(looks)] for looks in played().get(alert, [])]
    assert [False, True, False] in [course[:3] for course in courses], courses


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_is_about_metrics_that_exist_with_these_labels(rule: dict[str, Any]) -> None:
    assert named(rule["expr"]).metrics
    assert faults(rule["expr"]) == []


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {*Severity, "none"}
    assert rule["labels"].get("told") in {None, "product"}
    told = rule["annotations"]
    assert told.keys() == {"summary", "description", "runbook"}
    assert all(text.strip() for text in told.values())
    page, _, anchor = told["runbook"].partition("#")
    assert anchor == rule["alert"].lower()
    assert anchor in headings((ROOT / page).read_text())


@pytest.mark.parametrize(
    "alert", [rule["alert"] for rule in ALERTS if rule["labels"].get("told") == "product"]
)
def test_what_the_product_tells_by_itself_it_has_a_code_for(alert: str) -> None:
    """Otherwise nobody would be told: Alertmanager leaves these to the product."""
    page = (ROOT / "docs" / "RUNBOOK.md").read_text()
    section = page.partition(f"\n### {alert}\n")[2].partition("\n#")[0]
    assert set(re.findall(r"As alert `(\w+)`", section)) <= {*AlertCode}
    assert "As alert `" in section


def test_the_runbook_tells_of_no_alert_that_is_none() -> None:
    page = (ROOT / "docs" / "RUNBOOK.md").read_text()
    section = page.partition("## Alerts of Prometheus\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^### (\w+)$", section, re.MULTILINE)) == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("alert", [rule["alert"] for rule in ALERTS if rule["labels"]["severity"] != "none"])
def test_the_runbook_says_what_to_do_about_it_with_a_command(alert: str) -> None:
    page = (ROOT / "docs" / "RUNBOOK.md").read_text()
    section = page.partition(f"\n### {alert}\n")[2].partition("\n#")[0]
    do = re.split(r"\bDo:\s", section)[1]
    assert re.search(r"(?:`|^)(?:trading|temporal|chronyc|docker|valkey-cli) ", do, re.MULTILINE), alert


def test_the_specified_alerts_have_their_severities() -> None:
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in ALERTS}
    assert severities["BrokerServerErrors"] == "critical"
    assert severities["InsufficientFundsInARow"] == "high"
    assert severities["MarketDataLatency"] == "medium"


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("max(kill_switch_engaged) == 1", []),
        ('rate(signals_total{outcome="rejected"}[5m])', []),
        ("kill_switch_engage == 1", ["no metric kill_switch_engage"]),
        ('sum(signals_total{result="rejected"})', ["signals_total has no label result"]),
        ("sum by (ticker) (rate(signals_total[5m]))", ["nothing here has a label ticker"]),
        ("rate(quote_age_seconds[5m])", ["no metric quote_age_seconds"]),
        ("histogram_quantile(0.95, sum by (le, provider) (rate(quote_age_seconds_bucket[5m])))", []),
        ("max by (process) (broker_api_error_rate)", ["nothing here has a label process"]),
    ],
)
def test_what_does_not_exist_is_seen(expression: str, wrong: list[str]) -> None:
    assert faults(expression) == wrong
