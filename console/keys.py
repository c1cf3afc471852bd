"""``trading keys``: the keys that approvals are signed with and may be signed with, and that of the audit log's
checkpoints. Nobody looks at them by itself: the processes that hold them read them at their start.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from console.common import NO_OPTIONS, Common, console, emit, table
from console.errors import EXIT_DONE, CommandFailed, Refused
from console.rows import rows
from storage.statements import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from security.approvals import ApprovalKeys

_TO_RESTART: Final = "restart execution, then risk (both are in `trading up`): until then nothing changes"

app = App(name="keys", help="The keys of approvals: list, rotate, retire, revoke.")

Folder = Annotated[
    Path | None,
    Parameter(help="Folder of the secrets: .secrets for Compose (default: that of the installation)."),
]


@app.default
@app.command(name="list")
def list_keys(*, folder: Folder = None, common: Common = NO_OPTIONS) -> int:
    """List the keys, newest first."""
    return _told(common, folder, lambda _: None, "")


@app.command
def rotate(*, folder: Folder = None, common: Common = NO_OPTIONS) -> int:
    """Make a new signing key. What the former one has signed may still leave."""
    from security.approval_files import rotate as change

    return _told(common, folder, change, _TO_RESTART)


@app.command
def retire(key_id: str, /, *, folder: Folder = None, common: Common = NO_OPTIONS) -> int:
    """Accept a former key no more, save for stops and exits of what it has approved."""
    from security.approval_files import retire as change

    return _told(common, folder, lambda where: change(where, key_id), _TO_RESTART)


@app.command
def revoke(key_id: str, /, *, folder: Folder = None, common: Common = NO_OPTIONS) -> int:
    """Accept nothing that a former key has signed, stops that are not at the broker yet among it."""
    from security.approval_files import revoke as change

    return _told(common, folder, lambda where: change(where, key_id), _TO_RESTART)


def _told(
    common: Common, folder: Path | None, change: "Callable[[Path], ApprovalKeys | None]", then: str
) -> int:
    """Change the files if that is what is asked, and show how they stand.

    Raises:
        Refused: they are not there, cannot be used, or do not hold that key.
    """
    from security.approval_files import read_files
    from security.approvals import ApprovalKeyError

    where = folder or common.addresses().data_dir / "keys"
    try:
        change(where)
        signer, keys = read_files(where)
    except ApprovalKeyError as error:
        raise Refused(
            str(error), do="see `trading keys list`, and RUNBOOK.md for what a key is good for"
        ) from error
    except OSError as error:
        raise Refused(f"{where}: {error.strerror}", do="use the account that holds the secrets") from error
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
    vkey = _audit_vkey(where, common)
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


def _audit_vkey(folder: Path, common: Common) -> str | None:
    """What an auditor verifies checkpoints with; None without the key, or the database that it is named by."""
    from security.notes import AUDIT_KEY, AuditKeyError, NoteSigner, origin_of

    try:
        secret = (folder / AUDIT_KEY).read_text()
        namespace = asyncio.run(_namespace(common))
        return NoteSigner.from_hex(origin_of(namespace), secret).vkey
    except (OSError, AuditKeyError, CommandFailed):
        return None


async def _namespace(common: Common) -> object:
    async with rows(common.addresses()) as connection:
        return await connection.fetchval(load("switches")["read_installation"])
