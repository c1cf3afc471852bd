"""Grafana's dashboards: made of what is in the code, and every query is one about something that exists."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.monitoring.promql import DEPLOY, check_expressions, faults, named
from workers.dashboards.__main__ import FOLDER, documents
from workers.dashboards.boards import BOARDS
from workers.dashboards.panels import DATASOURCE

PROVISIONING = DEPLOY / "grafana" / "provisioning"


def committed() -> list[dict[str, Any]]:
    """The dashboards as Grafana reads them."""
    return [json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))]


def queries() -> Iterable[tuple[str, str]]:
    """(dashboard and panel, PromQL) of every query, with Grafana's variable as it puts it in."""
    for board in committed():
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield f"{board['title']}: {panel['title']}", target["expr"].replace("$__rate_interval", "20s")


def test_the_files_are_what_the_code_makes() -> None:
    assert {file.name: file.read_text() for file in FOLDER.glob("*.json")} == documents(), "make docs"


def test_every_query_is_promql(tmp_path: Path) -> None:
    found = [query for _, query in queries()]
    assert len(found) > 80
    check_expressions(found, tmp_path)


def test_every_query_is_about_metrics_that_exist() -> None:
    wrong = {where: told for where, query in queries() if (told := faults(query)) or not named(query).metrics}
    assert wrong == {}


def test_the_specified_metrics_are_shown() -> None:
    shown = {metric for _, query in queries() for metric in named(query).metrics}
    assert {
        "order_submission_latency_ms_bucket", "broker_api_error_rate", "signal_rejection_percentage",
    } <= shown  # fmt: skip


def test_panels_lie_beside_each_other_and_name_their_source() -> None:
    assert {board["uid"] for board in committed()} == {board.uid for board in BOARDS}
    for board in committed():
        taken: set[tuple[int, int]] = set()
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert max(x for x, _ in cells) < 24, panel["title"]
            taken |= cells
            for target in panel.get("targets", ()):
                assert target["datasource"] == panel["datasource"] == DATASOURCE
            assert panel["type"] == "row" or panel["description"]


def test_grafana_is_given_the_source_and_the_folder() -> None:
    source = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    assert (source["uid"], source["type"]) == (DATASOURCE["uid"], DATASOURCE["type"])
    provider = yaml.safe_load((PROVISIONING / "dashboards" / "trading.yml").read_text())["providers"][0]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
