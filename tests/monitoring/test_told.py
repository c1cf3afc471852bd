"""Who is told: Alertmanager's routes, and a rule that fires on a real page and reaches Slack and PagerDuty."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import yaml

from observability.metrics import Metrics
from tests.monitoring.promql import ALERTMANAGER, AMTOOL, DEPLOY, PROMETHEUS, RULES, program
from tests.servers.processes import POLL_SECONDS
from tests.servers.session import Servers
from workers.chaos.receivers import PAGERDUTY_PATH, ROUTING_KEY, SLACK_PATH, Receiver
from workers.datadir import free_port
from workers.health import health_served
from workers.healthy import problem
from workers.metric_docs import rules
from workers.settings import HealthSettings
from workers.supervisor import ChildSpec

CONFIGURATION = DEPLOY / "alertmanager" / "alertmanager.yml"
SECRETS = "/run/secrets/"
WITHIN_SECONDS = 60
INTERVAL = "200ms"


def amtool(*arguments: object) -> str:
    """Run it; its words are the failure."""
    told = subprocess.run(
        [program(AMTOOL), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def test_amtool_reads_the_configuration(tmp_path: Path) -> None:
    """How: where it lies in its container, so that its templates are read too."""
    file = tmp_path / "alertmanager.yml"
    file.write_text(CONFIGURATION.read_text().replace("/etc/alertmanager", str(CONFIGURATION.parent)))
    assert "1 templates" in amtool("check-config", file)


@pytest.mark.parametrize(
    ("severity", "receiver"),
    [
        ("critical", "pagerduty and slack"), ("high", "pagerduty and slack"), ("medium", "slack"),
        ("none", "nobody"), ("unheard-of", "slack"),
    ],
)  # fmt: skip
def test_who_is_told_by_severity(severity: str, receiver: str) -> None:
    tested = amtool("config", "routes", "test", f"--config.file={CONFIGURATION}", f"severity={severity}")
    assert tested.strip() == receiver


def test_what_keeps_another_silent_exists_and_is_never_a_wide_net() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    for rule in yaml.safe_load(CONFIGURATION.read_text())["inhibit_rules"]:
        for matchers in (rule["source_matchers"], rule["target_matchers"]):
            [(label, _, value)] = [re.split(r"(=~|=)", matcher, maxsplit=1) for matcher in matchers]
            if label == "told":
                assert value == '"product"'
            else:
                assert label == "alertname"
                assert set(value.strip('"').split("|")) <= alerts


def test_no_secret_stands_in_the_configuration() -> None:
    text = CONFIGURATION.read_text()
    assert set(re.findall(r"(\w*(?:url|key)\w*):", text)) == {
        "slack_api_url_file", "pagerduty_url", "routing_key_file",
    }  # fmt: skip


@dataclass
class Watched:
    """A page of ours under real Prometheus and real Alertmanager."""

    metrics: Metrics
    receiver: Receiver
    alertmanager: str

    async def until_alert(self, name: str, state: str | None) -> None:
        """Wait for Alertmanager to hold an alert in that state; None: not at all."""
        async with asyncio.timeout(WITHIN_SECONDS), httpx2.AsyncClient(trust_env=False) as http:
            while True:
                alerts = (await http.get(f"{self.alertmanager}/api/v2/alerts")).json()
                states = [each["status"]["state"] for each in alerts if each["labels"]["alertname"] == name]
                if states == ([] if state is None else [state]):
                    return
                await asyncio.sleep(POLL_SECONDS)

    def titles(self) -> list[str]:
        """What Slack shows in bold, in order."""
        return [each["attachments"][0]["title"] for each in self.receiver.slack]

    def events(self) -> list[tuple[str, str]]:
        """(what, title or key) of PagerDuty's events, in order."""
        return [
            (each["event_action"], each.get("payload", {}).get("summary", ""))
            for each in self.receiver.pagerduty
        ]

    async def until_told(self, condition: Callable[[], bool]) -> None:
        await self.receiver.until(condition)


@asynccontextmanager
async def watched(servers: Servers, folder: Path) -> AsyncIterator[Watched]:
    """Our configuration files, with loopback's addresses and short intervals in their places."""
    receiver, metrics = Receiver(), Metrics()
    async with receiver.up(), health_served(HealthSettings(), metrics, {}) as port:
        alertmanager, prometheus = free_port(), free_port()
        (folder / "am.yml").write_text(told_here(folder, receiver))
        (folder / "prometheus.yml").write_text(scraped_here(port, alertmanager))
        await start(servers, ALERTMANAGER, alertmanager, folder, "am.yml", "--cluster.listen-address=")
        await start(
            servers, PROMETHEUS, prometheus, folder, "prometheus.yml", "--rules.alert.resend-delay=1s"
        )
        try:
            yield Watched(metrics, receiver, f"http://127.0.0.1:{alertmanager}")
        finally:
            for name in (PROMETHEUS.name, ALERTMANAGER.name):
                await servers.supervisor.stop(name)


def told_here(folder: Path, receiver: Receiver) -> str:
    """Alertmanager's configuration for this machine."""
    (folder / "trading_alert_slack_url").write_text(receiver.url + SLACK_PATH)
    (folder / "trading_alert_pagerduty_routing_key").write_text(ROUTING_KEY)
    text = CONFIGURATION.read_text().replace("/etc/alertmanager", str(CONFIGURATION.parent))
    made = yaml.safe_load(text.replace(SECRETS, f"{folder}/"))
    made["global"]["pagerduty_url"] = receiver.url + PAGERDUTY_PATH
    made["route"] |= {"group_wait": INTERVAL, "group_interval": INTERVAL}
    return yaml.safe_dump(made)


def scraped_here(port: int, alertmanager: int) -> str:
    """Prometheus' configuration for this machine, with the rules as they are."""
    made = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    made["global"] = {
        "scrape_interval": INTERVAL,
        "scrape_timeout": INTERVAL,
        "evaluation_interval": INTERVAL,
    }
    made["rule_files"] = [str(each) for each in RULES]
    made["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
    [ours] = [each for each in made["scrape_configs"] if each["job_name"] == "trading"]
    del ours["dns_sd_configs"], ours["relabel_configs"]
    ours["static_configs"] = [{"targets": [f"127.0.0.1:{port}"], "labels": {"process": "operations"}}]
    made["scrape_configs"] = [ours]
    return yaml.safe_dump(made)


async def start(servers: Servers, path: Path, port: int, folder: Path, file: str, *options: str) -> None:
    """One of the two, until it is ready."""

    async def ready() -> str | None:
        return await asyncio.to_thread(problem, f"http://127.0.0.1:{port}/-/ready", 1.0)

    data = "storage.path" if path == ALERTMANAGER else "storage.tsdb.path"
    argv = (
        program(path), f"--config.file={folder / file}", f"--web.listen-address=127.0.0.1:{port}",
        f"--{data}={folder / path.name}", *options,
    )  # fmt: skip
    await servers.supervisor.start(
        ChildSpec(name=path.name, argv=argv, log_path=folder / f"{path.name}.log", ready=ready)
    )


async def test_a_rule_that_fires_reaches_both_and_so_does_its_end(servers: Servers, tmp_path: Path) -> None:
    """How: the product tells by itself, so its own alert stays here; then it loses a message, and it does not."""
    async with watched(servers, tmp_path) as page:
        page.metrics.set_channels({"slack": True, "pagerduty": True})
        page.metrics.set_alert_deliveries(due=0, dead=0)
        await page.until_alert("ProductTells", "active")

        page.metrics.set_kill_switch(engaged=True)
        await page.until_alert("KillSwitchEngaged", "suppressed")
        page.metrics.set_schedule_lag(130)
        await page.until_told(lambda: "HIGH · ReconciliationMissed" in page.titles() and bool(page.events()))
        assert page.events() == [("trigger", "HIGH · ReconciliationMissed")]
        assert page.titles() == ["HIGH · ReconciliationMissed"], "the product has told of the kill switch"
        [event], [message] = page.receiver.pagerduty, page.receiver.slack
        assert event["routing_key"] == ROUTING_KEY
        assert event["payload"]["severity"] == "error"
        told = message["attachments"][0]["text"]
        for words in ("2m 10s late", "docs/RUNBOOK.md#reconciliationmissed", "temporal schedule describe"):
            assert words in told
            assert words in event["payload"]["custom_details"]["text"]

        page.metrics.set_alert_deliveries(due=0, dead=1)
        critical = "CRITICAL · KillSwitchEngaged"
        await page.until_told(lambda: critical in page.titles() and ("trigger", critical) in page.events())
        [event] = [
            each for each in page.receiver.pagerduty if each.get("payload", {}).get("severity") == "critical"
        ]
        assert event["payload"]["class"] == "KillSwitchEngaged"

        page.metrics.set_kill_switch(engaged=False)
        page.metrics.set_schedule_lag(0)
        await page.until_told(
            lambda: (
                {"OVER · KillSwitchEngaged", "OVER · ReconciliationMissed"} <= {*page.titles()}
                and list(page.receiver.incidents.values()) == ["resolve", "resolve"]
            )
        )
