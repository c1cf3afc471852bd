"""What the audit log alone tells of a stack's orders, held against its exchange's ledger."""

import json
from collections import Counter
from decimal import Decimal
from typing import Any

import asyncpg

from audit.rebuild import Line, rebuild
from audit.rows import read_lines
from tests.servers.stack import Stack
from workers.chaos.audit_judge import judge_audit
from workers.chaos.judge import Verdict
from workers.chaos.ledger import read_ledger
from workers.chaos.ours import Books


async def audit_lines(stack: Stack) -> list[Line]:
    """Every audit row, in its order."""
    connection = await asyncpg.connect(stack.dsn)
    try:
        async with connection.transaction():
            return [line async for line in read_lines(connection)]
    finally:
        await connection.close()


async def ledger_records(stack: Stack) -> list[dict[str, Any]]:
    """The exchange's ledger, whole."""
    answer = await stack.exchange_http.get("/_exchange/ledger", params={"after": 0})
    return [json.loads(line) for line in answer.text.splitlines()]


async def audit_verdict(stack: Stack) -> Verdict:
    """Orders, executions and books from the audit log, held against the ledger and the account."""
    positions = (await stack.exchange_http.get("/v2/positions")).json()
    account = (await stack.exchange_http.get("/v2/account")).json()
    theirs = Books({row["symbol"]: Decimal(row["qty"]) for row in positions}, Decimal(account["cash"]))
    verdict = Verdict()
    judge_audit(verdict, rebuild(await audit_lines(stack)), read_ledger(await ledger_records(stack)), theirs)
    return verdict


def calls_told(lines: list[Line]) -> Counter[tuple[str, int | None]]:
    """Requests that change something, by method and status, as audit rows tell them."""
    return Counter(
        (call["request"].partition(" ")[0], call["http_status"])
        for line in lines
        for call in (line.payload or {}).get("calls", ())
        if not call["request"].startswith("GET ")
    )


def calls_received(records: list[dict[str, Any]]) -> Counter[tuple[str, int | None]]:
    """The same as the exchange has received them."""
    return Counter(
        (record["method"], record["status"])
        for record in records
        if record["kind"] == "request"
        and record["method"] != "GET"
        and record["route"].startswith("/v2/orders")
    )
