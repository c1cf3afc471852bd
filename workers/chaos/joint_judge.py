"""Judges a round of joint limits from the audit log alone: decision by decision, in the order they were made.

Decisions and changes of limits hold the account's lock until they are committed, so the audit log's ids are their
one order. What each may come to is worked out anew here, from proposals and limits as they stand in those rows.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from schemas.orders import Action
from workers.chaos.joint_book import EQUITY

if TYPE_CHECKING:
    from storage.database import Connection

# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
STORY: Final = """
select a.id, a.decision, p.payload, d.limits_version from audit_log a
join audit_payloads p on p.audit_id = a.id
left join decisions d on d.signal_id = a.correlation_id and a.decision in ('APPROVED', 'REJECTED')
where a.id > $1 and (a.decision in ('APPROVED', 'REJECTED') or a.decision like 'LIMITS_%')
order by a.id
"""
# tidy: sql because the judge reads with the owner's rights, and no process of ours runs these
HELD: Final = "select coalesce(sum(abs(quantity)), 0) from positions"

PER_CENT: Final = Decimal("0.01")


@dataclass
class Told:
    """What a round's decisions were."""

    approved: list[str] = field(default_factory=list)
    refused: int = 0
    before_lowering: int | None = None
    """Approvals that came before the change in mid-flight; None: there was none."""
    wrong: list[str] = field(default_factory=list)


class Judge:
    """Follows the limits in force over all rounds."""

    def __init__(self) -> None:
        self._limits: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
        self._read_up_to = 0

    async def read(self, connection: "Connection", *, in_flight: int | None) -> Told:
        """Every opening order decided since the last call; ``in_flight`` is the version set in mid-flight."""
        told, risk = Told(), _Risk()
        for row in await connection.fetch(STORY, self._read_up_to):
            payload, self._read_up_to = json.loads(row["payload"]), row["id"]
            if row["decision"].startswith("LIMITS_"):
                self._limits[payload["scope"], payload["name"]] = payload["version"], payload["limits"]
                if payload["version"] == in_flight:
                    told.before_lowering = len(told.approved)
            elif payload["proposal"]["action"] == Action.BUY_TO_OPEN:
                self._check(payload["proposal"], row["decision"], row["limits_version"], risk, told)
        return told

    def _check(
        self, proposal: dict[str, Any], decision: str, version: int, risk: "_Risk", told: Told
    ) -> None:
        signal, strategy, ticker = proposal["signal_id"], proposal["strategy"], proposal["ticker"]
        dollars = Decimal(proposal["quantity"]) * Decimal(proposal["limit_price"])
        scopes = (("account", ""), ("strategy", strategy), ("ticker", ticker))
        rows = [self._limits[scope] for scope in scopes if scope in self._limits]
        newest = max(version for version, _ in rows)
        if version != newest:
            told.wrong.append(f"{signal}: decided by limits version {version}, in force was {newest}")
        over = [
            f"{name}: {after} > {limit}"
            for name, after, limit in risk.with_order(strategy, ticker, dollars, [each for _, each in rows])
            if after > limit
        ]
        if decision == "APPROVED":
            told.approved.append(signal)
            risk.add(strategy, ticker, dollars)
            told.wrong += [f"{signal} was approved above {text}" for text in over]
        else:
            told.refused += 1
            if not over:
                told.wrong.append(f"{signal} was refused though there was room")


class _Risk:
    """Dollars approved in this round, whose orders all may still execute."""

    def __init__(self) -> None:
        self._total = Decimal(0)
        self._orders = 0
        self._of: dict[str, Decimal] = defaultdict(Decimal)

    def with_order(
        self, strategy: str, ticker: str, dollars: Decimal, documents: Sequence[dict[str, Any]]
    ) -> list[tuple[str, Decimal, Decimal]]:
        """(limit's name, dollars or orders with this order, what is allowed) of every limit in force."""
        found = []
        for name, before in (
            ("max_gross_exposure_pct", self._total),
            ("max_strategy_exposure_pct", self._of[f"strategy {strategy}"]),
            ("max_ticker_exposure_pct", self._of[f"ticker {ticker}"]),
        ):
            least = min(Decimal(each[name]) for each in documents if name in each)
            found.append((name, before + dollars, least * PER_CENT * EQUITY))
        [most] = [Decimal(each["max_open_orders"]) for each in documents if "max_open_orders" in each]
        return [*found, ("max_open_orders", Decimal(self._orders + 1), most)]

    def add(self, strategy: str, ticker: str, dollars: Decimal) -> None:
        self._total += dollars
        self._orders += 1
        self._of[f"strategy {strategy}"] += dollars
        self._of[f"ticker {ticker}"] += dollars
