"""Releases by their grants: one that no row can hold is refused; one before the sweep says that orders stay."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from activities.kill_switch import KillSwitchActivities
from schemas.kill import KillCommand, ReleaseOrder
from security.grants import GrantRefused, make_grant, verify_grant
from storage.database import Database
from storage.sweeps import save_sweep
from storage.switches import engage
from tests.postgres.cold import let_in
from tests.workflow.kill_script import grant

NUL = "\x00"


@pytest.mark.parametrize("field", ["key_id", "person"])
async def test_a_character_with_code_zero_is_a_refusal_with_its_audit_row(database: str, field: str) -> None:
    rows: Any = await Database.connect(database)
    now = datetime.now(UTC)
    steps = KillSwitchActivities(
        rows, Mock(), Mock(), now=lambda: now, verify=verify_grant, refused=GrantRefused
    )
    odd = grant(1).model_copy(update={field: f"k{NUL}"})
    answer = await steps.release_kill_switch(ReleaseOrder(grant=odd, as_of=now))
    assert not answer.released
    async with rows.connection() as connection:
        found = await connection.fetchval("SELECT count(*) FROM audit_log WHERE decision = 'RELEASE_REFUSED'")
    await rows.close()
    assert found == 1


@pytest.mark.parametrize(
    ("swept", "told"),
    [
        (None, "open orders were not cancelled yet, and stay: see `trading orders`"),
        (False, "not every cancel was confirmed: see `trading orders`"),
        (True, ""),
    ],
)
async def test_who_releases_before_the_end_of_the_sweep_hears_that_orders_stay(
    database: str, tmp_path: Path, swept: bool | None, told: str
) -> None:
    rows: Any = await Database.connect(database)
    now, key = datetime.now(UTC), tmp_path / "operator.json"
    async with rows.connection() as connection:
        await let_in(connection, key, account="paper-1")
    async with rows.transaction("test") as connection:
        state = await engage(connection, KillCommand(), request_id="r", now=now, component="test")
        if swept is not None:
            await save_sweep(connection, state, {}, confirmed=swept, unprotected=(), now=now)
    steps = KillSwitchActivities(
        rows, Mock(), Mock(), now=lambda: now, verify=verify_grant, refused=GrantRefused
    )
    signed = make_grant(key, account="paper-1", epoch=state.epoch, reason="looked into it", now=now)
    answer = await steps.release_kill_switch(ReleaseOrder(grant=signed, as_of=now))
    await rows.close()
    assert answer.released
    assert answer.message == "; ".join(filter(None, ("released: new orders may be placed", told)))
