"""The broker's keys, replaced while the process runs: read again and again, tried, and only then used.

A new pair is asked for the account before the old one is dropped; a request in flight keeps its own. So what is
stored now is used everywhere within a look and its trial, and the old pair may be revoked after a minute.
"""

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from activities.row_alerts import RowAlerts
from broker.alpaca.client import AlpacaReader
from broker.alpaca.scope import KeyScopeRefused, check_scope
from broker.budget import BrokerBudget, Share, patiently, take_token
from broker.errors import BrokerError, Forbidden, Unauthorized, ValidationRefused
from broker.keys import BrokerKeys, KeyPair
from observability.logging import get_logger
from observability.metrics import Metrics
from schemas.alerts import Alert, AlertCode, Severity
from schemas.audit import AuditEntry
from schemas.broker import Account
from security.secrets.errors import SecretError, SecretMalformed
from security.secrets.port import StoredSecret
from security.secrets.reader import SecretReader
from security.secrets.settings import BROKER_FIELDS
from storage.database import Database
from storage.events import append
from storage.switches import ACCESS, access_entry

LOOK_SECONDS: Final = 30.0
"""Between readings of the store."""
WOKEN_SECONDS: Final = 1.0
"""At least, between two readings that refused keys asked for."""
TRIAL_PATIENCE_SECONDS: Final = 3.0
"""For a request's token."""
TELL_AFTER: Final = timedelta(seconds=90)
"""Of a store that gives nothing: three looks."""
CRITICAL_AFTER: Final = timedelta(hours=12)
"""From then on somebody is woken for it. Keys in memory go on all the same: the broker is the judge of keys, and an
account without keys could not even cancel."""
COMPONENT: Final = "BrokerKeys"
_HEADER: Final = re.compile(r"[!-~]+")
"""What a header can carry, without blanks."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class Venue:
    """Whose keys they are, and how a pair is tried there."""

    trading_url: str
    account: str
    reader: Callable[[BrokerKeys], AlpacaReader]
    """A client of the pair alone, which no budget and no halt hears of: keys that are only tried halt nothing."""


class NotOurs(Exception):
    """A stored pair that must not be used; the message says why."""


class KeyRefresher:
    """One for each process that holds the broker's keys."""

    def __init__(
        self,
        reader: SecretReader,
        path: str,
        keys: BrokerKeys,
        venue: Venue,
        *,
        database: Database,
        budget: BrokerBudget,
        metrics: Metrics,
        holder: str,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._path = path
        self._keys = keys
        self._venue = venue
        self._database = database
        self._budget = budget
        self._metrics = metrics
        self._holder = holder
        self._now = now
        self._monotonic = monotonic
        self._alerts = RowAlerts(database, now=now)
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._read_at = monotonic()
        self._told: dict[AlertCode, Alert | None] = {}
        """As the rows stand, as far as we have made them."""
        self._untried: tuple[str, float] | None = None
        """A version that no trial has come to an end for, and since when."""
        self._taken: list[str] = []
        """Versions in use that the audit log has not heard of."""
        keys.on_refused(self._wake)

    def _wake(self) -> None:
        """Any thread: the broker refuses our keys, so the store may have others."""
        with suppress(RuntimeError):  # The loop has ended, and we with it.
            self._loop.call_soon_threadsafe(self._woken.set)

    async def look(self) -> None:
        """Wait until a look is due, for a while or until the broker refuses our keys; then take what is new."""
        await asyncio.sleep(WOKEN_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS - WOKEN_SECONDS):
                await self._woken.wait()
        self._woken.clear()
        await self.refresh()

    async def refresh(self) -> None:
        """Read the store once, and take a pair that is new and good."""
        try:
            found = await self._reader.read(self._path)
            pair = _pair(found)
        except SecretError as error:
            await self._unreadable(error)
        else:
            self._read_at = self._monotonic()
            await self._tell(AlertCode.SECRETS_UNREADABLE, None)
            if pair == self._keys.current:
                await self._tell(AlertCode.BROKER_KEYS_REFUSED, None)
            else:
                await self._try(found, pair)
        finally:
            self._metrics.set_secrets_age(self._monotonic() - self._read_at)
        await self._audit()

    async def _try(self, found: StoredSecret, pair: KeyPair) -> None:
        try:
            account = await self._asked(pair)
            if account.account_id != self._venue.account:
                raise NotOurs("they are of another account than this installation's")
        except (Unauthorized, Forbidden, ValidationRefused, KeyScopeRefused, NotOurs) as error:
            self._metrics.keys_rotated("refused")
            _log.error(
                "stored broker keys are not taken",
                place=found.place,
                version=found.version,
                reason=str(error),
            )
            await self._tell(AlertCode.BROKER_KEYS_REFUSED, self._refused(found, str(error)))
            return
        except BrokerError as error:
            _log.warning("stored broker keys are not tried yet", place=found.place, reason=error.message)
            await self._not_tried(found, error)
            return
        self._keys.replace(pair)
        self._metrics.keys_rotated("taken")
        self._taken.append(found.version)
        _log.warning("broker keys rotated", place=found.place, version=found.version)
        await self._tell(AlertCode.BROKER_KEYS_REFUSED, None)

    async def _not_tried(self, found: StoredSecret, error: BrokerError) -> None:
        """Somebody waits for this version to be used, and may revoke the former one."""
        now = self._monotonic()
        if self._untried is None or self._untried[0] != found.version:
            self._untried = (found.version, now)
        if timedelta(seconds=now - self._untried[1]) >= TELL_AFTER:
            why = f"it could not be tried: {error.code}: {error.message}"
            await self._tell(AlertCode.BROKER_KEYS_REFUSED, self._refused(found, why))

    async def _asked(self, pair: KeyPair) -> Account:
        """The account, by the new pair alone."""
        check_scope(pair.key_id.get_secret_value(), self._venue.trading_url)
        with patiently(TRIAL_PATIENCE_SECONDS):
            await take_token(self._budget, Share.READS)
        reader = self._venue.reader(BrokerKeys(pair))
        try:
            return await reader.authenticate()
        finally:
            await reader.close()

    async def _audit(self) -> None:
        while self._taken:
            version = self._taken[0]
            async with self._database.transaction("keys.rotated") as connection:
                await append(
                    connection, _rotated(self._holder, self._reader.place(self._path), version, self._now())
                )
            self._taken.pop(0)

    async def _unreadable(self, error: SecretError) -> None:
        silent = timedelta(seconds=self._monotonic() - self._read_at)
        _log.warning(
            "the secret store gives no keys", reason=error.message, seconds=round(silent.total_seconds())
        )
        if silent < TELL_AFTER and error.retryable:
            return
        critical = silent >= CRITICAL_AFTER
        alert = Alert(
            code=AlertCode.SECRETS_UNREADABLE,
            severity=Severity.CRITICAL if critical else Severity.HIGH,
            subject=self._holder,
            text=(
                f"{self._holder} cannot read the broker's keys: {error.message}. Those in memory go on, so trading "
                "does; no rotation is heard of, and no process can be started. Look at the store, its policy and "
                "its network"
            ),
            correlation_id=ACCESS,
        )
        await self._tell(AlertCode.SECRETS_UNREADABLE, alert)

    def _refused(self, found: StoredSecret, why: str) -> Alert:
        return Alert(
            code=AlertCode.BROKER_KEYS_REFUSED,
            severity=Severity.HIGH,
            subject=self._holder,
            text=(
                f"version {found.version} of {found.place} is not used by {self._holder}: {why}. The former keys "
                "go on; do not revoke them. Store a pair that the broker takes; it is tried again every half minute"
            ),
            correlation_id=ACCESS,
        )

    async def _tell(self, code: AlertCode, alert: Alert | None) -> None:
        """Raise it or end it, where that is news."""
        if code in self._told and self._told[code] == alert:
            return
        if alert is None:
            await self._alerts.change([], [code], self._holder, component=COMPONENT)
        else:
            await self._alerts.change([alert], component=COMPONENT)
        self._told[code] = alert


def _pair(found: StoredSecret) -> KeyPair:
    key, secret = (found.text(name) for name in BROKER_FIELDS)
    for each, name in ((key, BROKER_FIELDS[0]), (secret, BROKER_FIELDS[1])):
        if not _HEADER.fullmatch(each.get_secret_value()):
            raise SecretMalformed(
                f"{found.place}: the field {name} has a blank or another character no key has"
            )
    return KeyPair(key, secret)


def _rotated(holder: str, place: str, version: str, now: datetime) -> AuditEntry:
    evidence = {"holder": holder, "place": place, "version": version}
    detail = f"{holder} uses version {version} of {place}"
    return access_entry("BROKER_KEYS_ROTATED", COMPONENT, detail, evidence, now, actor="system")
