"""The shapes of PromQL that panels are made of."""

from typing import Final

WINDOW: Final = "$__rate_interval"
"""Grafana puts the width in: four scrapes at least."""


def per_minute(counter: str, *by: str, where: str = "") -> str:
    """Of a counter, over all processes."""
    return f"60 * {per_second(counter, *by, where=where)}"


def per_second(counter: str, *by: str, where: str = "") -> str:
    """Of a counter, over all processes."""
    return f"sum{_by(*by)} (rate({counter}{where}[{WINDOW}]))"


def quantile(share: float, histogram: str, *by: str, where: str = "") -> str:
    """Of a histogram, over all processes."""
    return f"histogram_quantile({share:g}, sum{_by('le', *by)} (rate({histogram}_bucket{where}[{WINDOW}])))"


def quantiles(histogram: str, where: str = "") -> tuple[tuple[str, str], ...]:
    """p50, p95 and p99 of a histogram."""
    return tuple(
        (quantile(share, histogram, where=where), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)
    )


def mean(histogram: str, *by: str) -> str:
    """Of a histogram's values."""
    return f"{per_second(f'{histogram}_sum', *by)} / {per_second(f'{histogram}_count', *by)}"


def _by(*labels: str) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
