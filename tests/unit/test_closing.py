"""Closing positions: what one act cannot close whole, it does not begin."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from console.acts import closing
from console.acts.people import Actor
from console.errors import Refused
from schemas.people import Role
from storage.closing import Held

NOW = datetime(2026, 11, 27, 15, tzinfo=UTC)
NO_ROWS: Any = None


async def test_more_than_one_act_closes_is_refused_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def held(*_: object) -> list[Held]:
        return [
            Held(ticker=f"T{number:04d}", strategy="carry", quantity=Decimal(1))
            for number in range(closing.AT_ONCE_MAX + 1)
        ]

    monkeypatch.setattr(closing, "read_held", held)
    actor = Actor("rita", uuid4(), Role.RISK, NOW, lambda: NOW)
    with pytest.raises(Refused, match="201 positions are held there"):
        await closing.ask(NO_ROWS, closing.Closing(None, None, "enough", uuid4()), actor)
