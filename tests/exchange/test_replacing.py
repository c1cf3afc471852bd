"""Replacing orders, decided by the engine alone: links, races, refusals, groups."""

from decimal import Decimal

from tests.exchange.floor import Floor, refused
from tests.exchange.test_advanced_orders import LEGS, legs


def test_a_replacement_takes_its_place_with_what_was_filled() -> None:
    floor = Floor()
    old = floor.working(type="limit", limit_price="99")
    floor.quote("AAPL", "98.90", "98.95", ask_size=3)
    new = floor.replace(old, qty="20", limit_price="98", client_order_id="second")
    assert (new.status, new.replaces, new.client_order_id) == ("pending_new", old.id, "second")
    assert floor.order(old).status == "pending_replace"
    floor.settle()
    replaced, working = floor.order(old), floor.order(new)
    assert (replaced.status, replaced.replaced_by) == ("replaced", new.id)
    assert (working.status, working.filled_qty, working.qty) == ("partially_filled", Decimal(3), Decimal(20))
    assert floor.names(old)[-2:] == ["pending_replace", "replaced"]
    assert floor.names(new) == ["pending_new", "new"]
    assert floor.book.reserved == 17 * 98


def test_a_fill_can_win_against_a_replacement() -> None:
    floor = Floor()
    old = floor.working(type="limit", limit_price="99")
    new = floor.replace(old, limit_price="98")
    assert refused(lambda: floor.cancel(floor.order(old))).status == 422
    assert refused(lambda: floor.cancel(new)).status == 422
    floor.quote("AAPL", "98.90", "98.95")
    floor.settle()
    assert (floor.order(old).status, floor.order(new).status) == ("filled", "rejected")
    assert floor.names(old)[-2:] == ["fill", "order_replace_rejected"]


def test_a_partial_fill_past_the_new_quantity_rejects_the_replacement_and_the_old_order_goes_on() -> None:
    floor = Floor()
    old = floor.working(type="limit", limit_price="99")
    new = floor.replace(old, qty="5")
    floor.quote("AAPL", "98.90", "98.95", ask_size=6)
    floor.settle()
    assert (floor.order(old).status, floor.order(new).status) == ("partially_filled", "rejected")
    assert floor.book.reserved == 4 * 99


def test_while_replacing_the_dearer_order_counts() -> None:
    floor = Floor()
    old = floor.working(type="limit", limit_price="99")
    floor.replace(old, qty="20")
    assert floor.book.reserved == 20 * 99
    floor.settle()
    smaller = floor.replace(floor.book.orders[floor.order(old).replaced_by or ""], qty="5")
    assert floor.book.reserved == 20 * 99
    floor.settle()
    assert floor.book.reserved == 5 * 99
    assert floor.order(smaller).status == "new"


def test_what_cannot_be_replaced_is_refused() -> None:
    floor = Floor()
    pending = floor.submit(type="limit", limit_price="99")
    assert (
        refused(lambda: floor.replace(pending, qty="5")).message
        == "cannot replace order in pending_new status"
    )
    floor.settle()
    same = refused(lambda: floor.replace(pending, qty="10", limit_price="99"))
    assert same.message == "order parameters are not changed"
    assert refused(lambda: floor.replace(pending, stop_price="99")).status == 422
    assert refused(lambda: floor.replace(pending, qty="100000")).code == 40310000
    floor.replace(pending, qty="5")
    floor.settle()
    assert refused(lambda: floor.replace(pending, qty="6")).message == "order already replaced"
    filled = floor.working("MSFT")
    assert refused(lambda: floor.replace(filled, qty="6")).message == 'order is already in "filled" state'
    notional = floor.submit("MSFT", qty=None, notional="500")
    floor.settle()
    assert refused(lambda: floor.replace(notional, qty="6")).status == 422


def test_the_legs_of_a_replaced_entry_follow_the_new_one() -> None:
    floor = Floor()
    entry = floor.working(type="limit", limit_price="99.90", order_class="bracket", **LEGS)
    new = floor.replace(entry, limit_price="99.95")
    floor.settle()
    assert {leg.status for leg in legs(floor, new)} == {"held"}
    assert floor.book.children[entry.id] == []
    floor.quote("AAPL", "99.80", "99.85")
    floor.settle()
    assert [leg.status for leg in legs(floor, new)] == ["new", "held"]


def test_a_held_stop_can_be_moved() -> None:
    floor = Floor()
    entry = floor.working(order_class="bracket", **LEGS)
    floor.settle()
    moved = floor.replace(legs(floor, entry)[1], stop_price="98")
    assert floor.order(moved).status == "held"
    floor.quote("AAPL", "98.50", "98.55")
    floor.settle()
    assert floor.order(moved).status == "held"
    floor.quote("AAPL", "97.90", "97.95")
    floor.settle()
    assert floor.order(moved).status == "filled"
