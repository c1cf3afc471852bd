"""``trading keys``: the keys that approvals are signed with and may be signed with, and that of the audit log's
checkpoints. Nobody looks at them by itself: the processes that hold them read them at their start.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from console.common import NO_OPTIONS, Common, console, emit, table, utc_now
from console.errors import EXIT_DONE, CommandFailed, DependencyDown, Refused
from console.rows import rows
from storage.statements import load

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from security.approvals import ApprovalKeys, ApprovalSigner

_TO_RESTART: Final = "restart execution, then risk (both are in `trading up`): until then nothing changes"
_UNRECORDED: Final = "execution tells of the keys that it accepts in the audit log, at its next start"

app = App(name="keys", help="The keys of approvals: list, rotate, retire, revoke.")

Folder = Annotated[
    Path | None,
    Parameter(help="Folder of the secrets: .secrets for Compose (default: that of the installation)."),
]
Reason = Annotated[str, Parameter(help="Why; goes into the audit log.")]
Unrecorded = Annotated[
    bool,
    Parameter(negative="", help="Also where no database can be reached that would record it."),
]


@app.default
@app.command(name="list")
async def list_keys(*, folder: Folder = None, common: Common = NO_OPTIONS) -> int:
    """List the keys, newest first."""
    return await _tell(common, _folder(common, folder), "")


@app.command
async def rotate(
    *, folder: Folder = None, reason: Reason = "", unrecorded: Unrecorded = False, common: Common = NO_OPTIONS
) -> int:
    """Make a new signing key. What the former one has signed may still leave. Audited."""
    from security.approval_files import rotate as change

    return await _change(common, folder, "rotate", change, reason, unrecorded=unrecorded)


@app.command
async def retire(
    key_id: str,
    /,
    *,
    folder: Folder = None,
    reason: Reason = "",
    unrecorded: Unrecorded = False,
    common: Common = NO_OPTIONS,
) -> int:
    """Accept a former key no more, save for stops and exits of what it has approved. Audited."""
    from security.approval_files import retire as change

    return await _change(
        common, folder, f"retire {key_id}", lambda where: change(where, key_id), reason, unrecorded=unrecorded
    )


@app.command
async def revoke(
    key_id: str,
    /,
    *,
    folder: Folder = None,
    reason: Reason = "",
    unrecorded: Unrecorded = False,
    common: Common = NO_OPTIONS,
) -> int:
    """Accept nothing that a former key has signed, stops that are not at the broker yet among it. Audited."""
    from security.approval_files import revoke as change

    return await _change(
        common, folder, f"revoke {key_id}", lambda where: change(where, key_id), reason, unrecorded=unrecorded
    )


async def _change(
    common: Common,
    folder: Path | None,
    act: str,
    change: "Callable[[Path], ApprovalKeys]",
    reason: str,
    *,
    unrecorded: bool,
) -> int:
    """Change the files in the transaction of the audit row: without a database nothing is changed.

    Raises:
        Refused: the files are not there, cannot be used, or do not hold that key.
        DependencyDown: it cannot be recorded; the message says whether anything was changed.
    """
    where, is_done = _folder(common, folder), False
    try:
        async with rows(common.addresses()) as connection:
            from storage.commits import committing

            async with committing(connection, "console.approval_keys"):
                _apply(where, change)
                is_done = True
                await _record(connection, where, act, reason)
    except DependencyDown as error:
        if is_done:
            what = f"the keys were changed, and that was not recorded: {error.what}"
            raise DependencyDown(what, do=_UNRECORDED) from error
        if not unrecorded:
            do = f"{error.do}; or change them all the same with --unrecorded: {_UNRECORDED}"
            raise DependencyDown(f"nothing was changed: {error.what}", do=do) from error
        _apply(where, change)
    return await _tell(common, where, _TO_RESTART)


async def _record(connection: "asyncpg.Connection[Any]", where: Path, act: str, reason: str) -> None:
    from console.acts.people import COMPONENT, REASON_MAX_CHARACTERS
    from console.kill_steps import operator
    from storage.events import append
    from storage.switches import access_entry

    why = reason.strip()[:REASON_MAX_CHARACTERS]
    detail = f"{act}: {why}" if why else act
    told = access_entry(
        "APPROVAL_KEYS_CHANGED", COMPONENT, detail, _evidence(where, act), utc_now(), actor=operator()
    )
    await append(connection, told)


def _evidence(where: Path, act: str) -> dict[str, Any]:
    signer, keys = _read(where)
    states = {key_id: keys.states[key].value for key_id, key in keys.by_id.items()}
    return {"act": act, "folder": str(where.absolute()), "signs": signer.key_id, "keys": states}


def _folder(common: Common, folder: Path | None) -> Path:
    return folder or common.addresses().data_dir / "keys"


def _apply(where: Path, change: "Callable[[Path], ApprovalKeys]") -> None:
    from security.approvals import ApprovalKeyError

    try:
        change(where)
    except ApprovalKeyError as error:
        raise _refused(error) from error
    except OSError as error:
        raise _unreadable(where, error) from error


def _read(where: Path) -> "tuple[ApprovalSigner, ApprovalKeys]":
    from security.approval_files import read_files
    from security.approvals import ApprovalKeyError

    try:
        return read_files(where)
    except ApprovalKeyError as error:
        raise _refused(error) from error
    except OSError as error:
        raise _unreadable(where, error) from error


def _refused(error: Exception) -> Refused:
    return Refused(str(error), do="see `trading keys list`, and RUNBOOK.md for what a key is good for")


def _unreadable(where: Path, error: OSError) -> Refused:
    return Refused(f"{where}: {error.strerror}", do="use the account that holds the secrets")


async def _tell(common: Common, where: Path, then: str) -> int:
    signer, keys = _read(where)
    told: list[dict[str, Any]] = [
        {
            "key_id": key_id,
            "state": keys.states[key].value,
            "signs": key == signer.public_key,
            "public_key": key.hex(),
        }
        for key_id, key in reversed(keys.by_id.items())
    ]
    before = keys.unsigned_before
    vkey = await _audit_vkey(where, common)
    data = {
        "keys": told,
        "audit_vkey": vkey,
        "unsigned_before": before.isoformat() if before else None,
        "then": then,
    }

    def draw() -> None:
        lines = [(each["key_id"], each["state"], "signs" if each["signs"] else "") for each in told]
        console().print(table(("key", "state", ""), lines))
        if before is not None:
            print(f"stops of what was approved before {before.isoformat()} need no signature")
        if vkey is not None:
            print(f"checkpoints of the audit log are signed by {vkey}")
        if then:
            print(then)

    emit(common, data, draw)
    return EXIT_DONE


async def _audit_vkey(folder: Path, common: Common) -> str | None:
    """What an auditor verifies checkpoints with; None without the key, or the database that it is named by."""
    from security.notes import AUDIT_KEY, AuditKeyError, NoteSigner, origin_of

    try:
        secret = await asyncio.to_thread((folder / AUDIT_KEY).read_text)
        async with rows(common.addresses()) as connection:
            namespace = await connection.fetchval(load("switches")["read_installation"])
        return NoteSigner.from_hex(origin_of(namespace), secret).vkey
    except (OSError, AuditKeyError, CommandFailed):
        return None
