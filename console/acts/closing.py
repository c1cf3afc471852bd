"""Closing positions as an act of a person: an ordinary closing signal through the gateway, judged like any other.

Risk, the checks before the POST and the audit log apply; there is no second way to the broker. What is proposed is
written down first, with who asked, so that sending it again is the same signal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

from pydantic import ValidationError

from console.acts.people import COMPONENT, Actor
from console.errors import BadUsage, DependencyDown, Refused
from console.gateway import Answer
from console.signal_files import SignalText
from schemas.base import decimal_text
from schemas.orders import Action, OrderType
from schemas.people import Role
from schemas.signals import STRATEGY_PATTERN, SignalIn
from storage.closing import ClosingRequest, Held, ask_closing, read_held, whole_shares
from storage.commits import committing

if TYPE_CHECKING:
    from console.gateway import Gateway
    from storage.database import Connection

CONSOLE_STRATEGY: Final = "console"
"""Closes what is held for no strategy of ours: what was there at the first start, or came from outside."""
AT_ONCE_MAX: Final = 200


@dataclass(frozen=True)
class Closing:
    """One wish."""

    ticker: str | None
    """None: every ticker."""
    strategy: str | None
    """None: of every strategy that holds it."""
    reason: str
    act_id: UUID
    """Of the form: sent twice it is one act."""
    limit_price: Decimal | None = None
    """US dollars: no worse than this. None: at the market, within the price collar. For one ticker only."""


@dataclass(frozen=True)
class Proposed:
    """What became of one position's signal."""

    held: Held
    signal_id: str
    accepted: bool | None
    """None: nobody knows; it may be taken. Sending the form again asks for the same signal."""
    message: str


async def ask(connection: Connection, wish: Closing, actor: Actor) -> list[tuple[Held, ClosingRequest]]:
    """Write down a closing signal for each position held; sent again, those of the first time.

    Raises:
        Refused: nothing is held, or more than ``AT_ONCE_MAX`` positions, or the person may not.
        StepUpNeeded: no second factor was shown just now.
        BadUsage: the price is none.
    """
    actor.require(Role.RISK, "to close positions")
    actor.require_fresh()
    if actor.person_id is None:
        raise Refused("only a person with an account does this", do="sign in to the console")
    if wish.limit_price is not None and wish.ticker is None:
        raise BadUsage("one price fits one ticker", do="close them one by one, or without a price")
    found = closable(await read_held(connection, wish.ticker))
    if wish.strategy is not None:
        found = [each for each in found if each.strategy == wish.strategy]
    if not found:
        raise Refused("nothing is held there that can be closed", do="look at the positions")
    if len(found) > AT_ONCE_MAX:
        raise Refused(
            f"{len(found)} positions are held there: {AT_ONCE_MAX} at most are closed at once",
            do="close them one ticker, or one strategy, after the other",
        )
    now, asked = actor.now(), []
    async with committing(connection, "console.close_asked"):
        for each in found:
            request = _request(each, wish, actor, now)
            document = await ask_closing(connection, request, component=COMPONENT)
            asked.append((each, request.model_copy(update={"document": document})))
    return asked


def closable(held: Sequence[Held]) -> list[Held]:
    """What can be closed, each under the strategy that its signal will name, by ticker and strategy.

    What is held for no strategy and what the console has sold of it are one position.
    """
    sums: dict[tuple[str, str], Decimal] = {}
    for each in held:
        own = re.fullmatch(STRATEGY_PATTERN, each.strategy) is not None
        key = (each.ticker, each.strategy if own else CONSOLE_STRATEGY)
        sums[key] = sums.get(key, Decimal(0)) + each.quantity
    found = [
        Held(ticker=key[0], strategy=key[1], quantity=quantity) for key, quantity in sorted(sums.items())
    ]
    return [each for each in found if whole_shares(each) > 0]


async def propose(door: Gateway, asked: Sequence[tuple[Held, ClosingRequest]]) -> list[Proposed]:
    """Give each to the gateway. An answer that is lost is told as unknown, never as refused."""
    return [await _propose(door, held, request) for held, request in asked]


async def _propose(door: Gateway, held: Held, request: ClosingRequest) -> Proposed:
    try:
        answer = await door.submit(SignalText(request.signal_id, request.document))
    except DependencyDown as error:
        return Proposed(held, request.signal_id, accepted=False, message=f"not sent: {error.what}")
    return Proposed(held, request.signal_id, _accepted(answer), _told(answer))


def _accepted(answer: Answer) -> bool | None:
    return None if answer.lost else answer.accepted


def _told(answer: Answer) -> str:
    if answer.accepted:
        return "proposed again: it is the same signal" if answer.repeated else "proposed: risk decides next"
    if answer.lost:
        return f"UNKNOWN, it may be taken: {answer.problem()}"
    return f"refused by the gateway: {answer.problem()}"


def _request(held: Held, wish: Closing, actor: Actor, now: datetime) -> ClosingRequest:
    fields: dict[str, Any] = {
        "signal_id": f"close-{uuid5(wish.act_id, f'{held.ticker}/{held.strategy}').hex}",
        "strategy": held.strategy,
        "ticker": held.ticker,
        "action": (Action.SELL_TO_CLOSE if held.quantity > 0 else Action.BUY_TO_CLOSE).value,
        "order_type": (OrderType.MARKET if wish.limit_price is None else OrderType.LIMIT).value,
        "quantity": decimal_text(whole_shares(held)),
        "created_at": now.isoformat(),
        "rationale": f"asked by {actor.name} in the console: {wish.reason}",
        "references": [f"asked by {actor.name}"],
    }
    if wish.limit_price is not None:
        fields["limit_price"] = decimal_text(wish.limit_price)
    try:
        SignalIn.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadUsage(f"this cannot be proposed: {first['msg']}", do="correct the price") from error
    assert actor.person_id is not None, "asked before"
    return ClosingRequest(
        signal_id=fields["signal_id"], document=json.dumps(fields, separators=(",", ":")), ticker=held.ticker,
        strategy=held.strategy, asked_at=now, asked_by=actor.name, person_id=actor.person_id, reason=wish.reason,
    )  # fmt: skip
