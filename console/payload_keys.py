"""``trading payloads``: the keys that payloads in Temporal are encrypted with.

A new key is added first, where it only decrypts. When every process has been started with it, it is used. What an
old one has encrypted stays in Temporal for its retention, a month: drop it after that. What is still open and needs
it keeps it from being dropped; the kill switch and the update stream, which never end, go on as new runs first.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, console, emit, table, utc_now
from console.errors import EXIT_DONE, Refused
from console.rows import rows

if TYPE_CHECKING:
    from security.payloads import PayloadKeys

AFTER_ADD: Final = "it only decrypts: when every process knows it, `trading payloads use {0}`"
AFTER_USE: Final = "{0} encrypts what is new; former keys stay for what they have encrypted"
AFTER_DROP: Final = "what {0} has encrypted cannot be read any more"

Folder = Annotated[
    Path | None,
    Parameter(help="Folder of the secrets: .secrets for Compose (default: that of the installation)."),
]
Reason = Annotated[str, Parameter(help="Why; goes into the audit log.")]


async def list_keys(*, folder: Folder = None, common: Common = NO_OPTIONS) -> int:
    """List the ids of the keys; the first encrypts."""
    from security.payload_files import read_file

    return _tell(common, _apply(lambda: read_file(_folder(common, folder))), "")


async def add(*, folder: Folder = None, reason: Reason = "", common: Common = NO_OPTIONS) -> int:
    """Add a key that decrypts only, until it is used. Audited."""
    from security.payload_files import add as change

    where, now = _folder(common, folder), utc_now()
    return await _change(common, "add", lambda: change(where, now=now), reason, AFTER_ADD)


async def use(
    key_id: str, /, *, folder: Folder = None, reason: Reason = "", common: Common = NO_OPTIONS
) -> int:
    """Encrypt with a key that every process knows. Audited."""
    from security.payload_files import use as change

    where = _folder(common, folder)
    return await _change(common, f"use {key_id}", lambda: change(where, key_id), reason, AFTER_USE, key_id)


async def drop(
    key_id: str, /, *, folder: Folder = None, reason: Reason = "", common: Common = NO_OPTIONS
) -> int:
    """Forget a key and so what it has encrypted. Refused while an open workflow needs it. Audited."""
    from console.payload_use import refuse_while_needed
    from security.payload_files import check_old
    from security.payload_files import drop as change

    where = _folder(common, folder)
    _apply(lambda: check_old(where, key_id))
    await refuse_while_needed(common.addresses(), key_id)
    return await _change(common, f"drop {key_id}", lambda: change(where, key_id), reason, AFTER_DROP, key_id)


async def _change(
    common: Common, act: str, change: "Callable[[], PayloadKeys]", reason: str, then: str, key_id: str = ""
) -> int:
    """Change the file in the transaction of the audit row: without a database nothing is changed."""
    async with rows(common.addresses()) as connection:
        from console.acts.people import COMPONENT, REASON_MAX_CHARACTERS
        from console.kill_steps import operator
        from storage.commits import committing
        from storage.events import append
        from storage.switches import access_entry

        async with committing(connection, "console.payload_keys"):
            keys = await asyncio.to_thread(_apply, change)
            why = reason.strip()[:REASON_MAX_CHARACTERS]
            evidence = {"act": act, "encrypts": keys.newest, "keys": list(keys.by_id)}
            detail = f"{act}: {why}" if why else act
            told = access_entry(
                "PAYLOAD_KEYS_CHANGED", COMPONENT, detail, evidence, utc_now(), actor=operator()
            )
            await append(connection, told)
    return _tell(common, keys, then.format(key_id or list(keys.by_id)[-1]))


def _folder(common: Common, folder: Path | None) -> Path:
    return folder or common.addresses().data_dir / "keys"


def _apply(act: "Callable[[], PayloadKeys]") -> "PayloadKeys":
    from security.payloads import PayloadKeyError

    try:
        return act()
    except PayloadKeyError as error:
        raise Refused(str(error), do="see `trading payloads list`") from error
    except OSError as error:
        raise Refused(
            f"{error.filename}: {error.strerror}", do="use the account that holds the secrets"
        ) from error


def _tell(common: Common, keys: "PayloadKeys", then: str) -> int:
    told = [{"key_id": each, "encrypts": each == keys.newest} for each in keys.by_id]

    def draw() -> None:
        lines = [(each["key_id"], "encrypts" if each["encrypts"] else "decrypts") for each in told]
        console().print(table(("key", ""), lines))
        if then:
            print(then)

    emit(common, {"keys": told, "then": then}, draw)
    return EXIT_DONE
