"""Checks of what the account holds and has working: closes within the position, no crossing of ourselves.

The broker nets: an account is long or short in a ticker, never both, and one order cannot turn it round.
"""

from risk.arithmetic import text
from risk.candidate import Candidate, result
from schemas.orders import Action, OrderType, Side
from schemas.risk import CheckName, CheckResult, WorkingOrder


def short_selling(order: Candidate) -> CheckResult:
    """Only listed strategies open short positions. Whether the asset can be borrowed is the broker's to say."""
    proposal, allowed = order.proposal, order.facts.limits.short_selling_strategies
    if proposal.action is not Action.SELL_TO_OPEN:
        return result(
            CheckName.SHORT_SELLING, True, proposal.action.value, "none", "not applied: opens no short"
        )
    passed = proposal.strategy in allowed
    return result(
        CheckName.SHORT_SELLING,
        passed,
        proposal.strategy,
        ", ".join(allowed) or "no strategy",
        f"strategy {proposal.strategy} is {'' if passed else 'not '}listed for short selling",
    )


def opposite_position(order: Candidate) -> CheckResult:
    """Nothing is opened against the account's own position, nor against an opening order of the other side.

    The account would not hold both: the broker takes a buy as a cover while the account is short, and refuses
    the order. Close first, whichever strategy holds it.
    """
    action, held = order.proposal.action, order.book.ticker.held
    if not action.opens:
        return result(CheckName.OPPOSITE_POSITION, True, text(held), "none", "not applied to a close")
    is_buy = action is Action.BUY_TO_OPEN
    other = Action.SELL_TO_OPEN if is_buy else Action.BUY_TO_OPEN
    working = [each.signal_id for each in order.facts.working if each.action is other]
    on_our_side = held >= 0 if is_buy else held <= 0
    relation = ("≥" if on_our_side else "<") if is_buy else ("≤" if on_our_side else ">")
    opening = f"{len(working)} working {other.value}" + (f" ({', '.join(working)})" if working else "")
    return result(
        CheckName.OPPOSITE_POSITION,
        on_our_side and not working,
        f"{text(held)} held, {len(working)} working",
        f"{'≥' if is_buy else '≤'} 0 held, 0 working",
        f"{action.value}: the account holds {text(held)} {relation} 0, {opening}",
    )


def opposite_order(order: Candidate) -> CheckResult:
    """No order that could trade against one of ours: the broker's wash-trade rule, asked before the broker is.

    Refused against any stop order without a limit, and where buy limit ≥ sell limit. A MARKET order counts as
    the limit order that it goes out as.
    """
    found = [each.signal_id for each in order.facts.working if _may_meet(order, each)]
    side = "sell" if order.proposal.action.side is Side.BUY else "buy"
    return result(
        CheckName.OPPOSITE_ORDER,
        not found,
        ", ".join(found) or "none",
        "none",
        f"{len(found)} working {side} orders on {order.proposal.ticker} that this one could trade with",
    )


def _may_meet(order: Candidate, resting: WorkingOrder) -> bool:
    side = order.proposal.action.side
    if resting.action.side is side:
        return False
    stops = OrderType.STOP in (order.proposal.order_type, resting.order_type)
    if stops or order.limit_price is None or resting.limit_price is None:
        return True
    if side is Side.BUY:
        return order.limit_price >= resting.limit_price
    return resting.limit_price >= order.limit_price


def sell_more_than_held(order: Candidate) -> CheckResult:
    """A close may sell what the account holds of the ticker, less what working sells may already take."""
    proposal = order.proposal
    if proposal.action is not Action.SELL_TO_CLOSE:
        return result(
            CheckName.SELL_MORE_THAN_HELD, True, "0", "0", f"not applied to {proposal.action.value}"
        )
    free, held = order.book.closable, order.book.ticker.held
    passed = proposal.quantity <= free
    return result(
        CheckName.SELL_MORE_THAN_HELD,
        passed,
        text(proposal.quantity),
        text(free),
        f"{text(proposal.quantity)} {'≤' if passed else '>'} held {text(held)} "
        f"− working sells {text(held - free)} = {text(free)}",
    )


def cover_more_than_short(order: Candidate) -> CheckResult:
    """A cover may buy back what the account is short of the ticker, less what working buys may already bring."""
    proposal = order.proposal
    if proposal.action is not Action.BUY_TO_CLOSE:
        return result(
            CheckName.COVER_MORE_THAN_SHORT, True, "0", "0", f"not applied to {proposal.action.value}"
        )
    free, short = order.book.coverable, -order.book.ticker.held
    passed = proposal.quantity <= free
    return result(
        CheckName.COVER_MORE_THAN_SHORT,
        passed,
        text(proposal.quantity),
        text(free),
        f"{text(proposal.quantity)} {'≤' if passed else '>'} short {text(short)} "
        f"− working buys {text(short - free)} = {text(free)}",
    )
