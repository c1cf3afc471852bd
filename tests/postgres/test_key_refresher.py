"""A stored pair that does not come into use is told of, and nothing secret or foreign is told with it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from broker.budget import NoToken, Share
from broker.errors import BrokerError, NothingSent, ValidationRefused
from broker.keys import BrokerKeys, KeyPair
from observability.metrics import Metrics
from schemas.alerts import AlertCode
from security.secrets.port import document
from storage.alerts import list_alerts
from storage.database import Database
from tests.postgres.scripted_broker import NoLimit, ScriptedBroker
from workers.key_rotation import KeyRefresher, Venue

OLD = KeyPair(SecretStr("PKOLDOLDOLDOLDOLD"), SecretStr("an-old-secret-of-tests"))
KEY, SECRET = "PKNEWNEWNEWNEWNEW", "a-new-secret-of-tests"


class Rotation:
    """A store with one pair in it, and a broker that says what a test tells it to."""

    def __init__(self, database: Database, key: str = KEY, secret: str = SECRET) -> None:
        self.database = database
        self.fields = {"broker_key": key, "broker_secret": secret}
        self.error: BrokerError | None = None
        self.account = "A1"
        self.seconds = 0.0
        self.keys = BrokerKeys(OLD)

    def place(self, path: str) -> str:
        return f"store {path}"

    async def read(self, path: str) -> Any:
        return document(self.place(path), "7", self.fields)

    async def authenticate(self) -> Any:
        if self.error is not None:
            raise self.error
        account = await ScriptedBroker().get_account()
        return account.model_copy(update={"account_id": self.account, "account_number": "9876543210"})

    async def close(self) -> None:
        return

    def refresher(self) -> KeyRefresher:
        source: Any = self
        return KeyRefresher(
            source, "broker", self.keys, Venue("http://127.0.0.1:1", "A1", lambda _: source),
            database=self.database, budget=NoLimit(), metrics=Metrics(), holder="execution",  # type: ignore[arg-type]
            now=lambda: datetime.now(UTC), monotonic=lambda: self.seconds,
        )  # fmt: skip

    async def alerts(self) -> dict[AlertCode, str]:
        async with self.database.connection() as connection:
            return {each.code: each.text for each in await list_alerts(connection)}


@pytest.fixture
async def rows(database: str) -> Any:
    opened = await Database.connect(database)
    yield opened
    await opened.close()


@pytest.mark.parametrize("error", [NothingSent("no route"), NoToken(Share.READS, 1.0)])
async def test_a_pair_that_cannot_be_tried_for_long_is_told_of(rows: Database, error: BrokerError) -> None:
    rotation = Rotation(rows)
    rotation.error = error
    refresher = rotation.refresher()
    for rotation.seconds in (0, 89):
        await refresher.refresh()
        assert await rotation.alerts() == {}
    rotation.seconds = 90
    await refresher.refresh()
    assert "could not be tried" in (await rotation.alerts())[AlertCode.BROKER_KEYS_REFUSED]
    rotation.error = None
    await refresher.refresh()
    assert await rotation.alerts() == {}
    assert rotation.keys.current.key_id.get_secret_value() == KEY


async def test_a_pair_that_no_request_can_be_made_of_is_refused_at_once(rows: Database) -> None:
    rotation = Rotation(rows)
    rotation.error = ValidationRefused("nothing was sent")
    await rotation.refresher().refresh()
    assert AlertCode.BROKER_KEYS_REFUSED in await rotation.alerts()


async def test_of_another_s_account_nothing_is_told(rows: Database) -> None:
    rotation = Rotation(rows)
    rotation.account = "A2"
    await rotation.refresher().refresh()
    told = (await rotation.alerts())[AlertCode.BROKER_KEYS_REFUSED]
    assert "another account" in told
    assert "9876" not in told
    assert rotation.keys.current is OLD


async def test_the_end_of_a_line_is_no_part_of_a_secret(rows: Database) -> None:
    rotation = Rotation(rows, key=f"{KEY}\n", secret=f" {SECRET}\r\n")
    await rotation.refresher().refresh()
    pair = rotation.keys.current
    assert (pair.key_id.get_secret_value(), pair.secret_key.get_secret_value()) == (KEY, SECRET)


@pytest.mark.parametrize("secret", ["two wordsX", "a\nsecret", "a\x00secret", "s\u00e9cret"])
async def test_a_pair_that_no_header_carries_is_told_of(rows: Database, secret: str) -> None:
    rotation = Rotation(rows, secret=secret)
    await rotation.refresher().refresh()
    told = (await rotation.alerts())[AlertCode.SECRETS_UNREADABLE]
    assert "broker_secret" in told
    assert secret not in told
