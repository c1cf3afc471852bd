"""``trading reconcile``: compare our books with the broker's now, or look at the last runs."""

from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from console.addresses import Addresses
from console.common import NO_OPTIONS, Common, ago, clean, console, emit, table, utc_now
from console.errors import EXIT_DEPENDENCY, EXIT_DONE, EXIT_REFUSED
from console.kill_steps import operator
from console.rows import rows
from console.temporal import connect
from console.views import money, shares
from schemas.reconciliation import CASH, Finding, Outcome, Report
from storage.reconciliation import list_runs, read_readiness

if TYPE_CHECKING:
    from temporalio.client import Client

WAIT_SECONDS: Final = 90.0
"""A few readings two seconds apart; a broker that does not answer is given up after some forty seconds."""
RUNS_SHOWN: Final = 20


async def reconcile(
    *,
    list_only: Annotated[
        bool, Parameter(name="--list", negative="", help="Only show the last runs; compare nothing.")
    ] = False,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=500), help="How many runs.")] = RUNS_SHOWN,
    wait_seconds: Annotated[
        float, Parameter(validator=Number(gt=0, lte=600), help="How long to wait for the result.")
    ] = WAIT_SECONDS,
    common: Common = NO_OPTIONS,
) -> int:
    """Compare our books with the broker's now, adopt what the broker says, and print the differences.

    Exit 0: the books agree. Exit 1: they differed, and ours now say what the broker's do; or no two readings
    agreed. Exit 3: Temporal, the workers or the broker did not answer; nothing was changed.
    """
    addresses = common.addresses()
    if list_only:
        return await _list(common, addresses, limit)
    report = await _run(await connect(addresses), wait_seconds)
    emit(common, _data(report), lambda: _draw(report))
    if report.outcome is Outcome.FAILED:
        return EXIT_DEPENDENCY
    return EXIT_DONE if report.outcome in (Outcome.CLEAN, Outcome.OPENED) else EXIT_REFUSED


async def _run(client: "Client", seconds: float) -> Report:
    """Start a run, or join the one a person started before, and wait for it."""
    from console.acts.reconcile import start_reconciliation, wait_for

    return await wait_for(await start_reconciliation(client, operator()), seconds)


async def _list(common: Common, addresses: Addresses, limit: int) -> int:
    async with rows(addresses) as connection:
        runs = await list_runs(connection, limit)
        books = await read_readiness(connection)
    from risk.readiness import waits_for

    waits = waits_for(books, utc_now())
    data = {"orders_wait": waits, "runs": [_data(run) for run in runs]}

    def draw() -> None:
        if waits:
            print(f"ORDERS WAIT: {waits}")
        if not runs:
            print("no run yet")
            return
        now = utc_now()
        lines = [
            (f"{ago(run.finished_at, now)} ago", run.outcome.value, run.trigger, len(run.findings), run.booked,
             money(run.drift), "yes" if run.killed else "", run.detail)
            for run in runs
        ]  # fmt: skip
        columns = ("ended", "outcome", "trigger", "differences", "booked", "drift", "kill", "what")
        console().print(table(columns, lines, right=("differences", "booked", "drift")))

    emit(common, data, draw)
    return EXIT_DONE


def _data(report: Report) -> dict[str, Any]:
    percent = report.drift_pct
    return report.model_dump(mode="json") | {"drift_pct": None if percent is None else str(percent)}


def _draw(report: Report) -> None:
    print(f"{report.outcome.value}: {clean(report.detail)}")
    if report.booked:
        print(f"{report.booked} fees, dividends or deposits booked")
    if report.left_out:
        print(f"{report.left_out} executions and orders left out: too young to be judged")
    if not report.findings:
        return
    columns = ("kind", "what", "here", "broker", "difference", "what to do")
    lines = [
        (each.kind.value, each.detail, _amount(each, each.here), _amount(each, each.there),
         _amount(each, each.difference), each.do)
        for each in report.findings
    ]  # fmt: skip
    console().print(table(columns, lines, right=("here", "broker", "difference")))
    if report.found > len(report.findings):
        print(f"and {report.found - len(report.findings)} more: `trading reconcile --list --limit 1 --json`")
    share = "" if report.drift_pct is None else f" = {report.drift_pct} % of equity"
    print(f"drift {money(report.drift)}{share}; above 5 % the kill switch engages")


def _amount(finding: Finding, value: Any) -> str:
    if value is None:
        return ""
    return money(value) if finding.subject == CASH else shares(value)
