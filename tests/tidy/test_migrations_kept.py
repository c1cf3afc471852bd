"""A migration that was ever released stays as it is: an installation that has applied it would refuse to start."""

import hashlib
from pathlib import Path
from typing import Final

from tests.tidy.tree import ROOT

MIGRATIONS: Final = ROOT / "storage" / "migrations"
KEPT: Final = Path(__file__).with_name("migrations.sha256")
"""As ``sha256sum *.sql`` writes it. A new migration gets a line; a line is never changed or taken out."""


def test_every_migration_is_as_it_was_released() -> None:
    kept = {name: digest for digest, name in (line.split() for line in KEPT.read_text().splitlines())}
    here = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in MIGRATIONS.glob("*.sql")}
    assert here == kept, (
        "what is to change goes into a new migration, with a line of its own in migrations.sha256"
    )
