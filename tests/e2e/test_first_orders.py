"""A signal's way from HTTP to its settled outcome, in both topologies, judged by the exchange's ledger."""

import pytest

from tests.servers.stack import StackFactory, signal

TOPOLOGIES = ("compact", "isolated")


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_a_market_signal_is_filled_once(stack_factory: StackFactory, unique, topology: str) -> None:
    stack = await stack_factory(topology=topology)
    signal_id = unique("filled")
    answer = await stack.submit(signal(signal_id))
    assert answer.status_code == 202
    order = await stack.settled(signal_id)
    assert (order["status"], order["filled_quantity"]) == ("FILLED", "10")
    outcome = await stack.workflow(signal_id).result()
    assert outcome["status"] == "FILLED"
    ledger = await stack.ledger()
    assert (ledger["posts_total"], len(ledger["accepted_orders"]), ledger["duplicate_orders"]) == (1, 1, 0)
