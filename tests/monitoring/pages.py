"""Every process's /metrics of an installation, read again and again while it runs."""

import asyncio
import json
import re
from contextlib import suppress
from pathlib import Path

import httpx2

PAUSE_SECONDS = 0.5
SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


async def read_for_ever(folder: Path, found: dict[str, dict[str, float]]) -> None:
    """Keep the newest samples of each process in ``found``; ``folder`` has an installation somewhere in it."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:
        while True:
            for process, url in urls(folder).items():
                # It is being started, or ends.
                with suppress(httpx2.HTTPError):
                    text = (await http.get(url)).text
                    found[process] = {name: float(value) for name, value in SAMPLE.findall(text)}
            await asyncio.sleep(PAUSE_SECONDS)


def urls(folder: Path) -> dict[str, str]:
    """Where each process of the installation shows them; nothing before it runs."""
    for file in folder.glob("**/run/addresses.json"):
        addresses = json.loads(file.read_text())
        return {"gateway": addresses["metrics_url"], **addresses.get("metrics_urls", {})}
    return {}


def bare(samples: dict[str, float]) -> set[str]:
    """Names without labels."""
    return {name.partition("{")[0] for name in samples}


def total(samples: dict[str, float], name: str) -> float:
    """Of all series of a name."""
    return sum(value for key, value in samples.items() if key.partition("{")[0] == name)
