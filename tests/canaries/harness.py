"""Canary secrets: one unique value for every slot of every process, and the search for them in what is written.

For any test: make them by `fresh_canaries`, give them to the processes, do something, `look` in what was written,
and `assert_nowhere`.
"""

import base64
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
from temporalio.client import Client

from observability.redaction import _spellings
from security.approvals import ApprovalKeys, ApprovalSigner, KeyState
from security.payloads import PayloadKeys
from tests.servers.processes import Process
from workers.settings import PROCESSES, PUBLIC

SLACK_PATH: Final = "services/T000/B000/"
NEEDLE_LENGTH_MIN: Final = 8


@dataclass(frozen=True)
class Canaries:
    """``given``: setting → its whole value; ``needles``: setting → what must stand nowhere."""

    given: Mapping[str, str]
    needles: Mapping[str, str]

    def but(self, **needles: str) -> "Canaries":
        """With these instead, where a test's servers have made their own."""
        return Canaries(self.given, {**self.needles, **needles})


def slots() -> set[str]:
    """Every secret that any process may hold."""
    return {name for process in PROCESSES.values() for name in process.secrets}


def fresh_canaries() -> Canaries:
    """A value for each slot, in the shape that its setting asks for."""
    signer, signing_key = ApprovalSigner.generate()
    shaped: dict[str, Callable[[], tuple[str, str]]] = {
        "approval_signing_key": lambda: (signing_key, signing_key),
        "approval_public_keys": lambda: (ApprovalKeys({signer.public_key: KeyState.CURRENT}).text, ""),
        "operator_public_key": lambda: (secrets.token_hex(32), ""),
        "payload_keys": _payload_keys,
        "audit_key": _hex_key,
        "console_key": _hex_key,
        "database_url": lambda: _address("postgresql://ti_x:{}@127.0.0.1:1/trading"),
        "alert_slack_url": lambda: _address(f"http://127.0.0.1:1/{SLACK_PATH}{{}}"),
        "alert_pagerduty_routing_key": lambda: (text := secrets.token_hex(16), text),
    }
    made = {name: shaped.get(name, _words)() for name in sorted(slots())}
    return Canaries(
        given={name: given for name, (given, _) in made.items()},
        needles={name: needle for name, (_, needle) in made.items() if name not in PUBLIC},
    )


def canaries_in(folder: Path) -> Canaries:
    """The secrets that an installation has made for itself: each is unique, so each is a canary."""
    # By path: each service has a file of the same name with a password of its own.
    found = {
        file.relative_to(folder).as_posix(): file.read_text().strip()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    hidden = {
        name: text for name, text in found.items() if Path(name).name.removeprefix("trading_") not in PUBLIC
    }
    return Canaries(found, {name: text for name, text in _single(hidden) if len(text) >= NEEDLE_LENGTH_MIN})


def _single(files: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    import json
    from urllib.parse import urlsplit

    for name, text in files.items():
        if text.startswith("postgresql://"):
            yield name, urlsplit(text).password or ""
        elif text.startswith("{"):
            yield name, str(json.loads(text).get("private_key", ""))
        elif "payload_keys" in name:
            yield from ((f"{name} {n}", line.partition(":")[2]) for n, line in enumerate(text.splitlines()))
        else:
            yield name, text


def _words() -> tuple[str, str]:
    """With what quoting and escaping changes."""
    text = f"cAnary/{secrets.token_urlsafe(24)}+%'"
    return text, text


def _hex_key() -> tuple[str, str]:
    text = secrets.token_hex(32)
    return text, text


def _payload_keys() -> tuple[str, str]:
    keys = PayloadKeys.generate(datetime.now(UTC))
    return keys.text, keys.by_id[keys.newest].hex()


def _address(template: str) -> tuple[str, str]:
    needle = secrets.token_hex(16)
    return template.format(needle), needle


class Search:
    """What was written, by where; and which canaries stand in it, as they are or as other layers write them."""

    def __init__(self, canaries: Canaries) -> None:
        self._spelled = {
            name: {each.encode() for each in _spellings(text) | _binary(text)}
            for name, text in canaries.needles.items()
        }
        self.count = len(self._spelled)
        """Of canaries."""
        self.searched: dict[str, int] = {}
        """Where → bytes: a search through nothing finds nothing."""
        self.hits: list[str] = []

    def look(self, where: str, what: bytes | str) -> None:
        """Note every canary in ``what``; the hit names no value."""
        data = what.encode() if isinstance(what, str) else what
        self.searched[where] = self.searched.get(where, 0) + len(data)
        for name, spellings in self._spelled.items():
            if any(each in data for each in spellings):
                self.hits.append(f"{name} in {where}")

    def look_in_files(self, where: str, folder: Path) -> None:
        """Every file below a folder."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.look(f"{where} {file.name}", file.read_bytes())

    def look_at_processes(self, processes: Iterable[Process]) -> None:
        """Their command lines and environments, which others of the machine can list."""
        for process in processes:
            for what in ("cmdline", "environ"):
                try:
                    self.look(
                        f"{what} of {process.command}", Path(f"/proc/{process.pid}/{what}").read_bytes()
                    )
                except OSError:
                    continue  # It ended meanwhile.

    async def look_in_database(self, dsn: str) -> None:
        """Every row of every table of ours, the audit log among them."""
        connection = await asyncpg.connect(dsn)
        try:
            tables = await connection.fetch(
                "select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'public'"
            )
            for table in tables:
                async for text in _rows(connection, table["name"]):
                    self.look(f"table {table['name']}", text)
        finally:
            await connection.close()

    async def look_in_histories(self, client: Client) -> None:
        """Every history that Temporal holds, as it holds it: give a client without our keys."""
        async for found in client.list_workflows():
            handle = client.get_workflow_handle(found.id, run_id=found.run_id)
            history = await handle.fetch_history()
            self.look("histories", b"".join(event.SerializeToString() for event in history.events))
            described = await handle.describe()
            self.look("workflows", described.raw_description.SerializeToString())

    def assert_nowhere(self, *places: str) -> None:
        """No canary anywhere; ``places`` must have been searched, and not have been empty."""
        for place in places:
            assert any(where.startswith(place) and size for where, size in self.searched.items()), (
                f"nothing was searched in {place!r}: {sorted(self.searched)}"
            )
        assert not self.hits, sorted(set(self.hits))


def _binary(text: str) -> set[str]:
    """A key in hexadecimal is also 32 bytes that somebody may write in base64."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return set()
    return {text.upper(), base64.b64encode(raw).decode().rstrip("="), repr(raw)[2:-1]}


async def _rows(connection: Any, table: str) -> AsyncIterator[str]:
    async with connection.transaction():
        async for row in connection.cursor(f"select t::text from {table} t"):
            yield row[0]
