"""What protection does next, and which shares want a stop: pure decisions."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.prices import Market
from risk.protection import Scene, decide, exit_price, leg_doubt, share_out, wanted
from schemas.kill import KillScope
from schemas.orders import Action, OrderFlag, OrderStatus, OrderType, OrderView, Side, TimeInForce
from schemas.protection import Act, Holding, LegBasis, Lot, Obstacle, Protection
from schemas.wire import Leg

D = Decimal
NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
QUOTED = Market(bid=D("99.98"), ask=D("100.02"))


def lot(signal_id: str, quantity: int, strategy: str = "a", beyond: int = 0) -> Lot:
    return Lot(signal_id=signal_id, strategy=strategy, quantity=D(quantity), beyond=D(beyond))


def holding(held: int, closing: int = 0, strategy: str = "a") -> Holding:
    return Holding(strategy=strategy, held=D(held), closing=D(closing))


@pytest.mark.parametrize(
    ("lots", "holdings", "targets"),
    [
        ([lot("1", 10)], [holding(10)], {"1": 10}),
        ([lot("1", 10)], [holding(25)], {"1": 10}),
        # What a closing signal has asked for, and shares without a stop go first.
        ([lot("1", 10)], [holding(10, closing=4)], {"1": 6}),
        ([lot("1", 10)], [holding(15, closing=4)], {"1": 10}),
        # The oldest first, and never below zero.
        ([lot("1", 10), lot("2", 5)], [holding(15, closing=12)], {"1": 0, "2": 3}),
        ([lot("1", 10)], [holding(10, closing=30)], {"1": 0}),
        # A strategy's own lots before others', then what the account holds.
        ([lot("1", 10), lot("2", 5, "b")], [holding(10), holding(5, 2, "b")], {"1": 10, "2": 3}),
        ([lot("1", 10)], [holding(10), holding(-4, 0, "b")], {"1": 6}),
        ([lot("1", 10)], [], {"1": 0}),
        # What no leg may stand for before all else, whoever is older.
        ([lot("1", 15, beyond=5)], [holding(15)], {"1": 15}),
        ([lot("1", 15, beyond=5)], [holding(15, closing=7)], {"1": 8}),
        ([lot("1", 10), lot("2", 15, beyond=5)], [holding(25, closing=7)], {"1": 8, "2": 10}),
        (
            [lot("1", 10), lot("2", 15, "b", beyond=5)],
            [holding(10), holding(15, 0, "b"), holding(-5, 0, "c")],
            {"1": 10, "2": 10},
        ),
    ],
)
def test_shares_are_shared_out(lots: list[Lot], holdings: list[Holding], targets: dict[str, int]) -> None:
    assert share_out(lots, holdings) == {name: D(quantity) for name, quantity in targets.items()}


@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from("ab"), st.integers(0, 50)), max_size=6),
    st.lists(st.tuples(st.integers(-50, 100), st.integers(0, 50), st.sampled_from("ab")), max_size=3),
)
def test_stops_never_stand_for_more_than_is_held(
    lots: list[tuple[int, str, int]], holdings: list[tuple[int, int, str]]
) -> None:
    made = [
        lot(str(number), quantity, strategy, min(quantity, beyond))
        for number, (quantity, strategy, beyond) in enumerate(lots)
    ]
    known = [holding(*each) for each in holdings]
    targets = share_out(made, known)
    assert all(0 <= targets[each.signal_id] <= each.quantity for each in made)
    for each in made:
        own_share = wanted(each.signal_id, made, known)
        assert 0 <= own_share.target <= each.quantity - each.beyond
        assert 0 <= own_share.beyond <= each.beyond
        assert own_share.target + own_share.beyond == targets[each.signal_id]
    free = sum(held - closing for held, closing, _ in holdings)
    assert sum(targets.values()) <= max(0, free)
    for strategy in "ab":
        own = sum(held - closing for held, closing, whose in holdings if whose == strategy)
        assert sum(targets[each.signal_id] for each in made if each.strategy == strategy) <= max(0, own)


def protection(**fields: Any) -> Protection:
    return Protection.model_validate(
        {
            "signal_id": "s1", "strategy": "a", "ticker": "AAPL", "action": Action.SELL_TO_CLOSE,
            "stop_price": D(95), "filled": D(10), "exited": D(0), "created_at": NOW, **fields,
        }
    )  # fmt: skip


def leg(**fields: Any) -> OrderView:
    """A stop that stands at the broker, unless ``fields`` say otherwise."""
    return OrderView.model_validate(
        {
            "signal_id": "s1", "leg": Leg.STOP, "internal_order_id": uuid4(), "client_order_id": "ti-1",
            "broker_order_id": "b1", "ticker": "AAPL", "action": Action.SELL_TO_CLOSE, "strategy": "a",
            "order_type": OrderType.STOP, "time_in_force": TimeInForce.GTC, "quantity": D(10),
            "stop_price": D(95), "status": OrderStatus.ACKNOWLEDGED, "may_stand": True, "post_count": 1,
            "row_version": 1, "created_at": NOW, "updated_at": NOW, **fields,
        }
    )  # fmt: skip


UNSENT: dict[str, Any] = {
    "broker_order_id": None, "status": OrderStatus.CREATED, "may_stand": False, "post_count": 0,
}  # fmt: skip
ENDED: dict[str, Any] = {"status": OrderStatus.CANCELED}
LOST: dict[str, Any] = {"broker_order_id": None, "status": OrderStatus.SUBMITTED}
ASKED: dict[str, Any] = {"flags": (OrderFlag.CANCEL_REQUESTED,)}
EXIT: dict[str, Any] = {
    "leg": Leg.EXIT, "order_type": OrderType.LIMIT, "stop_price": None, "limit_price": D("98.00"),
}  # fmt: skip
AN_ENTRY = leg(signal_id="s2", leg=Leg.ENTRY, action=Action.BUY_TO_OPEN)


def act(*legs: OrderView, target: int = 10, **fields: Any) -> tuple[Act, tuple[OrderView, ...]]:
    scene = {
        "in_the_way": (), "now": NOW + timedelta(seconds=6), "market": QUOTED, "is_open": True,
        "opens_in_seconds": 100.0, "beyond": D(0),
    }  # fmt: skip
    scene |= {name: fields.pop(name) for name in list(fields) if name in scene}
    view = decide(Scene(protection=protection(**fields), target=D(target), legs=legs, **scene))  # type: ignore[arg-type]
    return view.act, view.orders


class TestTheOneThingToDo:
    def test_a_stop_that_fits_is_left_alone(self) -> None:
        assert act(leg()) == (Act.WAIT, ())
        assert act(leg(filled_quantity=D(4)), target=6, exited=D(4)) == (Act.WAIT, ())

    def test_what_nobody_knows_and_what_has_ended_come_first(self) -> None:
        lost, ended = leg(**LOST), leg(**ENDED)
        assert act(ended, lost) == (Act.RESOLVE, (lost,))
        assert act(ended) == (Act.SETTLE, (ended,))

    @pytest.mark.parametrize("surplus", [leg(quantity=D(12)), leg(quantity=D(8)), leg(**EXIT)])
    def test_what_does_not_fit_is_cancelled(self, surplus: OrderView) -> None:
        assert act(surplus) == (Act.CANCEL, (surplus,))

    def test_a_second_one_is_cancelled(self) -> None:
        first, second = leg(), leg(generation=1, broker_order_id="b2")
        assert act(first, second) == (Act.CANCEL, (first,))

    def test_a_cancel_is_waited_for_and_then_asked_again(self) -> None:
        asked = leg(quantity=D(12), **ASKED)
        assert act(asked) == (Act.WAIT, ())
        assert act(asked, now=NOW + timedelta(seconds=20)) == (Act.CANCEL, (asked,))

    def test_an_unsent_one_is_placed(self) -> None:
        unsent = leg(**UNSENT)
        assert act(unsent) == (Act.PLACE, (unsent,))
        assert act(unsent, target=0) == (Act.WAIT, ())

    def test_it_waits_for_the_switch_and_for_its_next_try(self) -> None:
        unsent = leg(**UNSENT)
        assert act(unsent, kill_engaged=True) == (Act.WAIT, ())
        assert act(unsent, kill_engaged=True, kill_scope=KillScope.RISK_ADDING)[0] is Act.PLACE
        assert act(unsent, retry_at=NOW + timedelta(seconds=7)) == (Act.WAIT, ())

    def test_past_the_stop_nothing_is_sent_until_the_open(self) -> None:
        through = {"obstacle": Obstacle.THROUGH, "retry_at": NOW}
        assert act(leg(**UNSENT), is_open=False, **through) == (Act.WAIT, ())
        assert act(leg(**UNSENT), **through)[0] is Act.PLACE

    def test_a_wash_clears_our_own_orders_first(self) -> None:
        unsent, wash = leg(**UNSENT), {"obstacle": Obstacle.WASH}
        assert act(unsent, in_the_way=(AN_ENTRY,), **wash) == (Act.CLEAR, (AN_ENTRY,))
        asked = AN_ENTRY.model_copy(update=ASKED)
        assert act(unsent, in_the_way=(asked,), **wash) == (Act.WAIT, ())
        assert act(unsent, **wash) == (Act.PLACE, (unsent,))

    def test_an_exit_needs_an_open_market_and_a_fresh_quote(self) -> None:
        unsent = leg(**EXIT, **UNSENT)
        assert act(unsent, exiting=True) == (Act.PLACE, (unsent,))
        assert act(unsent, exiting=True, is_open=False) == (Act.WAIT, ())
        assert act(unsent, exiting=True, market=None) == (Act.REFRESH, ())

    def test_an_exit_that_stands_is_looked_at_by_fresh_quotes(self) -> None:
        assert act(leg(**EXIT), exiting=True, market=None) == (Act.REFRESH, ())
        assert act(leg(**EXIT), exiting=True, market=None, is_open=False) == (Act.WAIT, ())

    def test_an_exit_that_the_market_has_left_behind_gets_a_new_price(self) -> None:
        behind = leg(**{**EXIT, "limit_price": D("100.00")})
        assert act(behind, exiting=True) == (Act.CANCEL, (behind,))
        assert act(behind, exiting=True, now=NOW) == (Act.WAIT, ())
        assert act(leg(**EXIT), exiting=True) == (Act.WAIT, ())

    def test_a_stop_that_buys_and_is_left_behind_covers_nothing(self) -> None:
        """At the broker it is a limit at 2.5 % above its stop: 107.63."""
        short = {"action": Action.BUY_TO_CLOSE, "stop_price": D(105)}
        stands = leg(**short)
        for market, covered in (
            (QUOTED, 10),
            (Market(bid=D("107.61"), ask=D("107.63")), 10),
            (Market(bid=D("108.00"), ask=D("108.02")), 0),
            (Market(bid=D("100.00"), ask=D("120.00")), 10),
            (None, 10),
        ):
            view = decide(
                Scene(
                    protection(**short),
                    D(10),
                    (stands,),
                    (),
                    NOW,
                    market,
                    is_open=True,
                    opens_in_seconds=100.0,
                )
            )
            assert (view.act, view.covered) == (Act.WAIT, D(covered)), market
            assert view.look_again_seconds == 15, "only the quote tells"

    def test_what_is_beyond_the_approval_is_neither_cancelled_for_nor_exited_nor_the_end(self) -> None:
        larger: dict[str, Any] = {"filled": D(15), "beyond": D(5)}
        assert act(leg(), **larger) == (Act.WAIT, ())
        sold = leg(status=OrderStatus.FILLED, filled_quantity=D(10), settled=True)
        assert act(sold, target=0, exited=D(10), exiting=True, market=None, **larger) == (Act.WAIT, ())
        assert act(leg(quantity=D(15)), **larger)[0] is Act.CANCEL

    def test_it_ends_with_the_last_share(self) -> None:
        done = leg(status=OrderStatus.FILLED, filled_quantity=D(10), settled=True)
        assert act(done, target=0, exited=D(10)) == (Act.CLOSED, ())
        assert act(done, target=0, exited=D(4), given_up=D(6))[0] is Act.CLOSED
        assert act(done, target=0, exited=D(4))[0] is Act.WAIT


def basis(**fields: Any) -> LegBasis:
    return LegBasis.model_validate(
        {
            "action": Action.BUY_TO_OPEN, "ticker": "AAPL", "strategy": "a", "hard_stop_loss": D(95),
            "filled": D(10), "exited": D(0), "given_up": D(0), "share": D(10), "standing": D(0),
            "collar_pct": D(2),
            "kill_engaged": False, "kill_scope": KillScope.ALL, **fields,
        }
    )  # fmt: skip


class TestALegLeavesOnlyAsApproved:
    def test_it_may_leave(self) -> None:
        assert leg_doubt(leg(), basis(), QUOTED) is None
        assert leg_doubt(leg(**EXIT), basis(), QUOTED) is None

    @pytest.mark.parametrize(
        "forged",
        [
            {"stop_price": D(96)},
            {"limit_price": D(94)},
            {"action": Action.BUY_TO_CLOSE},
            {"action": Action.SELL_TO_OPEN},
            {"ticker": "TSLA"},
            {"strategy": "b"},
            {**EXIT, "limit_price": None},
        ],
    )
    def test_what_was_not_approved_never_does(self, forged: dict[str, Any]) -> None:
        assert leg_doubt(leg(**forged), basis(), QUOTED) == ("LEG_NOT_APPROVED", True)

    def test_without_an_approved_stop_nothing_does(self) -> None:
        assert leg_doubt(leg(), basis(hard_stop_loss=None), QUOTED) == ("LEG_NOT_APPROVED", True)

    @pytest.mark.parametrize(
        "gone", [{"exited": D(1)}, {"given_up": D(1)}, {"standing": D(1)}, {"filled": D(9)}, {"share": D(9)}]
    )
    def test_more_than_is_left_waits(self, gone: dict[str, Any]) -> None:
        doubt = leg_doubt(leg(), basis(**gone), QUOTED)
        assert doubt is not None
        assert not doubt[1]

    def test_the_switch_holds_it_back_where_it_means_everything(self) -> None:
        assert leg_doubt(leg(), basis(kill_engaged=True), QUOTED) == ("KILL_SWITCH", False)
        engaged = basis(kill_engaged=True, kill_scope=KillScope.RISK_ADDING)
        assert leg_doubt(leg(), engaged, QUOTED) is None

    def test_an_exit_stays_inside_the_collar_of_a_fresh_quote(self) -> None:
        edge = exit_price(QUOTED, D(2), Side.SELL)
        assert leg_doubt(leg(**{**EXIT, "limit_price": edge}), basis(), QUOTED) is None
        beyond = leg(**{**EXIT, "limit_price": edge - D("0.01")})
        assert leg_doubt(beyond, basis(), QUOTED) is not None
        assert leg_doubt(leg(**EXIT), basis(), None) is not None
