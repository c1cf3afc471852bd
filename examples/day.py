"""A recorded day, traded by the moving-average strategy through the gateway, and judged: ``make day``.

Starts everything in a temporary folder, runs ``moving_average.py`` as a process of its own, and compares in the
end: every order explained by ``trading signal show``; our orders, positions and cash those of the exchange, and no
drift reported; every fill inside the recorded quotes. Exit 1: something was not so.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from console.addresses import DATA_DIR_VARIABLE, Addresses
from console.demo_exchange import PaperExchange
from console.demo_market import CLOCK_SECONDS, START_LATE_MAX
from console.demo_stack import stack
from console.recordings import judge_fills, read_recordings
from console.rows import rows

HERE = Path(__file__).parent
DEFAULT_FILE = HERE.parents[1] / "shared" / "market-data" / "SPY-20131008-second.csv.gz"
NEW_YORK = ZoneInfo("America/New_York")
ORDERS_MAX = "500"
SETTLED_SECONDS = 30.0
NOTHING = (Decimal(0), Decimal(0))
AVERAGE_ERROR = Decimal("1e-9")
DRIFT_EVENTS = "select count(*) from events where topic = 'system.state_drift'"
PROGRAM = (sys.executable, "-m", "console.main")


async def trading(data_dir: Path, *arguments: str) -> Any:
    """What the command ``trading`` prints as JSON."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, *arguments, "--json", "--data-dir", str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"trading {' '.join(arguments)} ended with {process.returncode}: {out.decode()}")
    return json.loads(out)


async def run_strategy(addresses: Addresses, options: argparse.Namespace, ticker: str) -> int:
    """The strategy as its own process, as one starts it beside `trading up`."""
    environment = {**os.environ, DATA_DIR_VARIABLE: str(addresses.data_dir), "NO_PROXY": "127.0.0.1"}
    chosen = ("--ticker", ticker, "--until", options.until)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "moving_average.py"), *chosen, env=environment, stdout=sys.stderr
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()


async def settled_orders(data_dir: Path) -> list[dict[str, Any]]:
    """Our orders, once all have ended and are settled."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        orders: list[dict[str, Any]] = await trading(data_dir, "orders", "--limit", ORDERS_MAX)
        if all(order["settled"] for order in orders) or time.monotonic() > deadline:
            return orders
        await asyncio.sleep(1)  # Asked as a person would, by the command line, which tells of no news.


async def unexplained(data_dir: Path, order: Mapping[str, Any]) -> str | None:
    """What ``signal show`` owes about an order; None: it tells all, from proposal to end."""
    shown = await trading(data_dir, "signal", "show", order["signal_id"])
    decision, told = shown["decision"], [entry["decision"] for entry in shown["timeline"]]
    if decision is None or not all(check["formula"] for check in decision["checks"]):
        return "a decision without its arithmetic"
    if told[:2] not in (["SIGNAL_ACCEPTED", "APPROVED"], ["SIGNAL_ACCEPTED", "REJECTED"]):
        return f"a story that begins with {told[:2]}"
    if Decimal(order["filled_quantity"]) and not any("FILL" in each for each in told):
        return "a fill that the story does not tell"
    if order["status"] == "REJECTED" and not order["reason"]:
        return "a refusal without a reason"
    return None


@dataclass
class Books:
    """Shares, and shares × price, of each order by its client order id; shares of each ticker; cash earned."""

    orders: dict[str, tuple[Decimal, Decimal]]
    positions: dict[str, Decimal]
    cash: Decimal


def our_books(orders: list[dict[str, Any]], held: list[dict[str, Any]]) -> Books:
    """What we say: the blotter and the positions."""
    filled = {
        order["client_order_id"]: (shares, shares * Decimal(order["average_price"]))
        for order in orders
        if (shares := Decimal(order["filled_quantity"]))
    }
    sold = {order["client_order_id"] for order in orders if order["action"].startswith("SELL")}
    cash = sum((value if name in sold else -value for name, (_, value) in filled.items()), Decimal(0))
    shares_of = {row["ticker"]: shares for row in held if (shares := Decimal(row["quantity"]))}
    return Books(filled, shares_of, cash)


def their_books(ledger: list[dict[str, Any]], held: Mapping[str, Decimal], cash: Decimal) -> Books:
    """What the exchange says: its ledger's executions, its positions and its cash."""
    opened = Decimal(0)
    names: dict[str, str] = {}
    filled: dict[str, tuple[Decimal, Decimal]] = {}
    for record in ledger:
        if record["kind"] == "account_opened":
            opened = Decimal(record["cash"])
        elif record["kind"] == "order_created":
            names[record["order"]["id"]] = record["order"]["client_order_id"]
        elif record["kind"] == "order_executed":
            shares, value = filled.get(names[record["order_id"]], (Decimal(0), Decimal(0)))
            more = Decimal(record["qty"])
            filled[names[record["order_id"]]] = (shares + more, value + more * Decimal(record["price"]))
    return Books(filled, dict(held), cash - opened)


def differences(ours: Books, theirs: Books) -> list[str]:
    """Where the two are not the same; an average of nine decimals may be off by its last one a share."""
    found = []
    if ours.positions != theirs.positions:
        found.append(f"we hold {ours.positions}, the exchange says {theirs.positions}")
    traded = sum((shares for shares, _ in ours.orders.values()), Decimal(0))
    if abs(ours.cash - theirs.cash) > traded * AVERAGE_ERROR:
        found.append(f"we earned {ours.cash}, the exchange says {theirs.cash}")
    for name in sorted(ours.orders.keys() | theirs.orders.keys()):
        (shares, value), (at, worth) = (books.orders.get(name, NOTHING) for books in (ours, theirs))
        if shares != at or abs(value - worth) > shares * AVERAGE_ERROR:
            found.append(f"{name}: {shares} shares for {value}, the exchange says {at} for {worth}")
    return found


async def judge(data_dir: Path, addresses: Addresses, options: argparse.Namespace) -> dict[str, Any]:
    """Everything that must hold when the day is over."""
    exchange = PaperExchange(addresses)
    orders = await settled_orders(data_dir)
    ledger = await exchange.records()
    fills = judge_fills(read_recordings([options.market]), ledger, speed=Decimal(options.speed), after=0)
    problems = [f"{order['signal_id']} has not ended" for order in orders if not order["settled"]]
    problems += fills.outside
    owed = {order["signal_id"]: await unexplained(data_dir, order) for order in orders}
    problems += [f"{signal_id}: {what}" for signal_id, what in owed.items() if what is not None]
    ours = our_books(orders, await trading(data_dir, "positions"))
    theirs = their_books(ledger, await exchange.positions(), await exchange.cash())
    problems += differences(ours, theirs)
    async with rows(addresses) as connection:
        drift = await connection.fetchval(DRIFT_EVENTS)
    problems += [f"drift was reported {drift} times"] if drift else []
    return {
        "ok": not problems,
        "market_time": (await exchange.clock()).astimezone(NEW_YORK).isoformat(),
        "orders": len(orders),
        "outcomes": dict(Counter(order["status"] for order in orders)),
        "reasons": dict(Counter(order["reason"] for order in orders if order["reason"])),
        "explained": sum(what is None for what in owed.values()),
        "fills": fills.count,
        "fills_outside_quotes": len(fills.outside),
        "drift_events": drift,
        "earned": str(ours.cash),
        "positions": {name: str(shares) for name, shares in ours.positions.items()},
        "problems": problems,
    }


async def play(options: argparse.Namespace) -> dict[str, Any]:
    """Start, trade, judge, stop."""
    ticker, day = options.market.name.split("-")[:2]
    start = datetime.strptime(f"{day} {options.start}", "%Y%m%d %H:%M").replace(tzinfo=NEW_YORK)
    # A day of orders in twenty minutes: the broker's 200 requests a minute would slow the market's orders down.
    requests = "--exchange-option=--requests-per-minute=6000"
    chosen = (
        f"--market={options.market}",
        f"--start={(start - START_LATE_MAX * float(options.speed)).isoformat()}",
        f"--speed={options.speed}",
        requests,
    )
    with tempfile.TemporaryDirectory(prefix="trading-day-") as folder:
        data_dir = Path(folder)
        async with stack(data_dir, chosen, lambda _: None) as addresses:
            await PaperExchange(addresses).set_clock(start)
            await asyncio.sleep(CLOCK_SECONDS)
            say(
                f"{ticker} on {day} from {options.start} at speed {options.speed} · {addresses.get('temporal_ui')}"
            )
            code = await run_strategy(addresses, options, ticker)
            report = await judge(data_dir, addresses, options)
    if code:
        report["problems"].append(f"the strategy ended with {code}")
        report["ok"] = False
    return report


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Play the day; the report is one JSON object on standard output."""
    parser = argparse.ArgumentParser(description="Replay a recorded day with the moving-average strategy.")
    parser.add_argument("--market", type=Path, default=DEFAULT_FILE, metavar="FILE.csv.gz")
    parser.add_argument("--speed", default="20", help="market seconds in a real one (20)")
    parser.add_argument("--start", default="09:26", help="New York time, once all is up (09:26)")
    parser.add_argument("--until", default="15:40", help="New York time at which the strategy ends (15:40)")
    options = parser.parse_args()
    if not options.market.is_file():
        say(f"skipped: there are no recorded quotes at {options.market}")
        return 0
    options.market = options.market.absolute()
    began = time.monotonic()
    report = asyncio.run(play(options))
    print(json.dumps(report | {"seconds": round(time.monotonic() - began, 1)}, indent=2))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
