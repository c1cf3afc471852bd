"""The keys that `trading doctor` looks at; it shows what they are, never one of them."""

import stat
from pathlib import Path

from console.addresses import Addresses
from console.broker_keys import broker_pair, store_settings
from console.checks import Check, State
from console.errors import BadUsage, DependencyDown, Refused


def operator_key(addresses: Addresses) -> Check:
    """Whether somebody can release the kill switch, and nobody else read the key."""
    path = Path(addresses.get("operator_key_file") or addresses.data_dir / "keys" / "operator.json")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return Check("operator key", State.NOTE, f"{path}: {error.strerror}", "without it nobody can release")
    if mode & 0o077:
        return Check("operator key", State.WRONG, f"{path} has mode {mode:o}", f"chmod 600 {path}")
    return Check("operator key", State.OK, str(path))


def approval_keys(addresses: Addresses) -> Check:
    """Whether risk's key and those that execution trusts belong together, where both are here."""
    from security.approval_files import SIGNING_KEY, read_files
    from security.approvals import ApprovalKeyError

    folder = addresses.data_dir / "keys"
    if not (folder / SIGNING_KEY).exists():
        return Check(
            "approval keys",
            State.NOTE,
            f"not in {folder}",
            "risk and execution look at theirs when they start",
        )
    try:
        signer, keys = read_files(folder)
        keys.require_current(signer)
    except (ApprovalKeyError, OSError) as error:
        return Check("approval keys", State.WRONG, str(error), "see `trading keys list`")
    return Check("approval keys", State.OK, f"{signer.key_id} signs, {len(keys.states)} known")


def broker_key(addresses: Addresses) -> Check:
    """What it may do, as far as its broker shows; where it comes from."""
    from broker.alpaca.scope import KeyScope, key_scope

    try:
        pair = broker_pair(addresses)
    except DependencyDown as down:
        return Check("broker key", State.DOWN, down.what, down.do)
    except BadUsage as wrong:
        return Check("broker key", State.WRONG, wrong.what, wrong.do)
    except Refused as refused:
        state = State.NOTE if store_settings().secret_source == "embedded" else State.WRONG  # noqa: S105 - none
        do = "execution and operations look at theirs when they start"
        return Check("broker key", state, refused.what, do if state is State.NOTE else refused.do)
    scope = key_scope(pair.key_id.get_secret_value())
    if scope is KeyScope.TRANSFERS:
        return Check("broker key", State.WRONG, "it may transfer money", "use a key of the Trading API")
    return Check("broker key", State.OK, f"{scope.value}, from {pair.place}")
