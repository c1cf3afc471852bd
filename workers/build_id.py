"""How this build is called: by its version and its content, so that another content is another build."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

DISTRIBUTION: Final = "trading-interface"
PACKAGES: Final = (
    "activities", "audit", "broker", "console", "events", "gateway", "market", "observability", "risk", "schemas",
    "security", "simulation", "storage", "workers", "workflows",
)  # fmt: skip
CONTENT: Final = (".css", ".html", ".js", ".lua", ".py", ".sql", ".toml")
HASH_CHARACTERS: Final = 10
ROOT: Final = Path(__file__).parents[1]


@cache
def own_build() -> str:
    """``0.1.0-3f2a9c01d4``: the same wherever the same files are installed."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*")):
            if file.suffix in CONTENT:
                digest.update(file.relative_to(ROOT).as_posix().encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"{version(DISTRIBUTION)}-{digest.hexdigest()[:HASH_CHARACTERS]}"
