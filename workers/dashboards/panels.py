"""A dashboard's JSON from few words: panels flow from left to right, a new row where one does not fit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

DATASOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
"""As deploy/grafana/provisioning names it."""
WIDTH: Final = 24
GRAPH: Final = (8, 8)
STAT: Final = (4, 4)
"""Width and height in Grafana's grid."""
SCHEMA_VERSION: Final = 39
REFRESH: Final = "5s"
GREEN, YELLOW, RED = "green", "yellow", "red"

Query = tuple[str, str]
"""PromQL, and the legend of its series."""
Steps = Sequence[tuple[float | None, str]]
"""Colours from a value on; None is the lowest."""


@dataclass(frozen=True)
class Panel:
    """One graph or one number."""

    title: str
    text: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    steps: Steps = ((None, GREEN),)
    words: Mapping[int, str] | None = None
    """What a number is called: 0 → released."""
    max: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        return STAT if self.kind == "stat" else GRAPH


def graph(title: str, text: str, *queries: Query, unit: str = "short", limit: float | None = None) -> Panel:
    """Lines over time; red from ``limit`` on."""
    steps: Steps = ((None, GREEN),) if limit is None else ((None, GREEN), (limit, RED))
    return Panel(title, text, queries, unit, steps=steps)


def number(
    title: str, text: str, query: str, *, unit: str = "short", bad: float | None = None, legend: str = ""
) -> Panel:
    """The last value; red from ``bad`` on."""
    steps: Steps = ((None, GREEN),) if bad is None else ((None, GREEN), (bad, RED))
    return Panel(title, text, ((query, legend),), unit, "stat", steps)


def light(title: str, text: str, query: str, *, off: str, on: str) -> Panel:
    """A word for 0, in green, and one for 1, in red."""
    return Panel(title, text, ((query, ""),), "short", "stat", ((None, GREEN), (1, RED)), {0: off, 1: on})


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    text: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> Iterable[Panel]:
        return (panel for row in self.rows for panel in row.panels)

    def document(self) -> dict[str, Any]:
        """The JSON that Grafana reads."""
        return {
            "annotations": {"list": []},
            "description": self.text,
            "editable": False,
            "graphTooltip": 1,
            "links": [
                {
                    "asDropdown": False, "icon": "dashboard", "includeVars": False, "keepTime": True,
                    "tags": ["trading"], "title": "", "type": "dashboards",
                }
            ],
            "panels": _placed(self.rows),
            "refresh": REFRESH,
            "schemaVersion": SCHEMA_VERSION,
            "tags": ["trading"],
            "templating": {"list": []},
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "utc",
            "title": self.title,
            "uid": self.uid,
            "version": 1,
        }  # fmt: skip


def _placed(rows: Iterable[Row]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        found.append(
            {
                "collapsed": False, "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": top}, "id": len(found) + 1,
                "panels": [], "title": row.title, "type": "row",
            }
        )  # fmt: skip
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            width, height = panel.size
            if left + width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            place = {"h": height, "w": width, "x": left, "y": top}
            found.append({"gridPos": place, "id": len(found) + 1, **_drawn(panel)})
            left, tallest = left + width, max(tallest, height)
        top += tallest
    return found


def _drawn(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": None if panel.unit == "percent" else 0,
        "thresholds": {
            "mode": "absolute", "steps": [{"value": value, "color": color} for value, color in panel.steps],
        },
        "mappings": _mappings(panel),
    }  # fmt: skip
    if panel.kind == "stat":
        options: dict[str, Any] = {
            "colorMode": "background", "graphMode": "none", "textMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }  # fmt: skip
    else:
        has_limit = len(panel.steps) > 1
        defaults["custom"] = {
            "drawStyle": "line", "fillOpacity": 10, "lineWidth": 1, "showPoints": "never",
            "thresholdsStyle": {"mode": "dashed" if has_limit else "off"},
        }  # fmt: skip
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {
        "datasource": DATASOURCE,
        "description": panel.text,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "datasource": DATASOURCE,
                "expr": expr,
                "legendFormat": legend or "__auto",
                "refId": chr(65 + index),
            }
            for index, (expr, legend) in enumerate(panel.queries)
        ],
        "title": panel.title,
        "type": panel.kind,
    }


def _mappings(panel: Panel) -> list[dict[str, Any]]:
    if panel.words is None:
        return []
    return [{"type": "value", "options": {str(value): {"text": text} for value, text in panel.words.items()}}]
