"""A scenario of the broker's keys: replaced while everything runs, taken by whoever lives."""

import secrets

from security.secrets.settings import BROKER_FIELDS, ENV_PREFIX
from workers.chaos.crash_orders import PlaceAndFill
from workers.embedded import SECRET_BYTES, write_private

HOLDERS = ("execution", "operations")


class BrokerKeysRotated(PlaceAndFill):
    """A new pair is stored; whoever dies while taking it starts with it, and an order is placed either way."""

    covers = ("commit keys.rotated",)
    again_seconds = 75.0

    async def propose(self) -> None:
        values = (f"PK{secrets.token_hex(9).upper()}", secrets.token_hex(SECRET_BYTES))
        await self.play.stage.exchange.control("keys", {"key": values[0], "secret": values[1]})
        data_dir = self.play.stage.data_dir
        folders = [data_dir.service_secrets(name) for name in HOLDERS]
        for folder in folders if folders[0].exists() else [data_dir.keys]:
            for name, value in zip(BROKER_FIELDS, values, strict=True):
                write_private(folder / f"{ENV_PREFIX.lower()}{name}", value)
        await super().propose()
