"""``trading equity``: what was lost today and of the peak, and a person who lets the peak begin anew."""

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, ago, console, emit, table, utc_now
from console.errors import EXIT_DONE, Refused
from console.rows import rows
from console.views import money

if TYPE_CHECKING:
    from datetime import datetime

    from risk.losses import Loss
    from schemas.conduct import EquityReading

_STEP: Final = Decimal("0.001")


async def show(*, common: Common = NO_OPTIONS) -> int:
    """Show equity, what it lies below the session's start and below its peak, and what is allowed."""
    from risk.arithmetic import exact
    from risk.losses import losses
    from storage.equity import read_equity
    from storage.limits import current_limits

    async with rows(common.addresses()) as connection:
        reading = await read_equity(connection)
        limits = (await current_limits(connection, utc_now())).limits
    with exact():
        found = losses(reading, limits)
        data = reading.model_dump(mode="json") | {"losses": [_data(each) for each in found.values()]}
    emit(common, data, lambda: _draw(data, reading))
    return EXIT_DONE


def _data(each: "Loss") -> dict[str, Any]:
    from risk.arithmetic import percent_of, text

    return {
        "kind": each.kind.value, "of": text(each.base), "lost": text(each.lost),
        "lost_pct": text(percent_of(each.lost, each.base, _STEP)), "allowed": text(each.allowed),
        "allowed_pct": text(each.limit_pct), "exceeded": each.exceeded,
    }  # fmt: skip


def _draw(data: dict[str, Any], reading: "EquityReading") -> None:
    if reading.equity is None:
        print("no account snapshot yet")
        return
    print(f"equity {money(reading.equity)}, read {_ago(reading.taken_at)}; peak read {_ago(reading.peak_at)}")
    lines = [
        (
            each["kind"],
            money(Decimal(each["of"])),
            money(Decimal(each["lost"])),
            f"{each['lost_pct']} %",
            f"{each['allowed_pct']} %",
            "wrong" if each["exceeded"] else "ok",
        )
        for each in data["losses"]
    ]
    columns = ("kill reason", "measured from", "lost", "is", "allowed", "")
    console().print(table(columns, lines, right=("measured from", "lost", "is", "allowed")))


def _ago(then: "datetime | None") -> str:
    return "never" if then is None else f"{ago(then, utc_now())} ago"


async def reset_peak(
    *,
    reason: Annotated[str, Parameter(help="Why drawdown is measured from now on.")],
    person: Annotated[
        str | None, Parameter(help="Who says so (default: whoever sits at this terminal).")
    ] = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Let the drawdown be measured from equity as it is now. Audited. Exit 1: no equity is known."""
    from console.acts.people import COMPONENT
    from console.strategies import who_and_why
    from storage.commits import committing
    from storage.equity import reset_peak as reset

    who, why = who_and_why(person, reason)
    async with rows(common.addresses()) as connection, committing(connection, "console.peak_reset"):
        equity = await reset(connection, person=who, reason=why, component=COMPONENT, now=utc_now())
    if equity is None:
        raise Refused("no equity was ever read", do="is `trading up` running?")
    text = f"peak equity is {money(equity)} from now on"
    emit(common, {"peak_equity": format(equity, "f"), "message": text}, lambda: print(text))
    return EXIT_DONE
