"""What a broker key may do, and that no code here could move money with any."""

import ast

import pytest

from broker.alpaca.hosts import PAPER_TRADING_URL, is_beside_us
from broker.alpaca.scope import KeyScope, KeyScopeRefused, check_scope, key_scope
from tests.tidy.tree import dotted, parse, sources

LOCAL = "http://127.0.0.1:8085"
CALLED = {
    "cancel_order_by_id", "cancel_orders", "get", "get_account", "get_all_positions", "get_clock",
    "get_order_by_client_id", "get_order_by_id", "submit_order",
}  # fmt: skip
"""Every method of the trading SDK that is called. One more is a decision, not an accident."""
RAW_PATHS = {"/orders", "/calendar", "/account/activities", "/account/activities/FILL"}


@pytest.mark.parametrize(
    ("key", "scope"),
    [("PK1", KeyScope.PAPER), ("AK1", KeyScope.LIVE), ("CK1", KeyScope.TRANSFERS), ("f00", KeyScope.UNKNOWN)],
)
def test_a_key_is_known_by_its_beginning(key: str, scope: KeyScope) -> None:
    assert key_scope(key) is scope
    assert check_scope(key, LOCAL) is scope


@pytest.mark.parametrize(
    ("key", "url"),
    [("CK1", PAPER_TRADING_URL), ("CK1", "https://api.alpaca.markets"), ("AK1", PAPER_TRADING_URL)],
)
def test_a_key_that_may_do_too_much_is_refused_without_being_shown(key: str, url: str) -> None:
    with pytest.raises(KeyScopeRefused) as refused:
        check_scope(key + "SECRETPART", url)
    assert "SECRETPART" not in str(refused.value)


def test_no_method_is_called_that_could_move_money() -> None:
    """How: every call on a name ``client`` in the adapter, and every path that is asked for by hand."""
    called, paths = set(), set()
    for file in sources("broker"):
        for node in ast.walk(parse(file.read_text())):
            if isinstance(node, ast.Call) and dotted(node.func).startswith("client."):
                name = dotted(node.func).removeprefix("client.")
                called.add(name)
                if name == "get" and isinstance(node.args[0], ast.Constant):
                    paths.add(node.args[0].value)
    assert called - {"_session.close"} == CALLED
    assert paths == RAW_PATHS


@pytest.mark.parametrize(
    ("url", "beside"),
    [
        ("http://127.0.0.1:8085", True),
        ("http://[::1]:8085", True),
        ("http://paper-exchange:8085", True),
        ("http://10.0.0.1:8085", False),
        (PAPER_TRADING_URL, False),
        ("http://127.0.0.1:8085/x", False),
    ],
)
def test_what_is_beside_us(url: str, beside: bool) -> None:
    assert is_beside_us(url) is beside
