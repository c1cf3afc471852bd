"""A release by a grant that no row can hold: refused, and never tried again."""

from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import pytest

from activities.kill_switch import KillSwitchActivities
from schemas.kill import ReleaseOrder
from security.grants import GrantRefused, verify_grant
from storage.database import Database
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
