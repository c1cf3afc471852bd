"""``trading release``: a signed grant from the operator's key file, given to the kill switch's workflow."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from console.acts.kill import release_switch
from console.acts.people import REASON_MAX_CHARACTERS
from console.common import NO_OPTIONS, Common, emit, utc_now
from console.errors import EXIT_DONE, BadUsage, Refused
from console.rows import rows
from console.temporal import connect
from schemas.kill import ReleaseGrant
from storage import switches


async def release(
    *,
    reason: Annotated[str, Parameter(help="Why trading may go on.")],
    person: Annotated[str | None, Parameter(help="Who says so (default: the key's owner).")] = None,
    accept_unknown: Annotated[
        tuple[str, ...],
        Parameter(help="A client order id whose unknown outcome you accept; may be repeated."),
    ] = (),
    key_file: Annotated[Path | None, Parameter(help="Operator key file, mode 0600.")] = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Release the kill switch with a grant signed by the operator key. Exit 1: it stays engaged."""
    if not reason.strip():
        raise BadUsage("a release needs a reason", do='--reason "checked positions with the broker"')
    addresses = common.addresses()
    async with rows(addresses) as connection:
        state = await switches.read_state(connection)
        installation = await switches.read_installation(connection)
    if not state.engaged:
        emit(common, {"released": True, "message": "it was not engaged"}, lambda: print("it was not engaged"))
        return EXIT_DONE
    key = key_file or Path(
        addresses.get("operator_key_file") or addresses.data_dir / "keys" / "operator.json"
    )
    grant = _grant(
        key, account=installation.account or "", epoch=state.epoch, reason=reason, person=person,
        unknown=accept_unknown,
    )  # fmt: skip
    answer = await release_switch(await connect(addresses), grant)
    emit(common, answer.model_dump(mode="json"), lambda: print(f"RELEASED: {answer.message}"))
    return EXIT_DONE


def _grant(
    key: Path, *, account: str, epoch: int, reason: str, person: str | None, unknown: tuple[str, ...]
) -> ReleaseGrant:
    from security.grants import KeyFileError, make_grant

    try:
        return make_grant(
            key, account=account, epoch=epoch, reason=reason[:REASON_MAX_CHARACTERS], now=utc_now(),
            person=person, unknown_orders=unknown,
        )  # fmt: skip
    except KeyFileError as error:
        raise Refused(str(error), do="only the holder of the operator key may release") from error
