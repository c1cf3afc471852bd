"""What a caller of the adapter may do meanwhile, and what is told about each request."""

import asyncio
import inspect
import sys
import threading
import time

import pytest

from broker.alpaca.client import AlpacaReader
from broker.alpaca.trader import AlpacaTrader
from broker.budget import Share
from broker.errors import BrokerError, NetworkError, NothingSent, ValidationRefused
from broker.port import BrokerReader, BrokerTrader
from broker.told import BrokerCall, evidence, hearing
from tests.unit.broker_server import ORDER, SECRET, Request, Server, http, order_request
from tests.unit.broker_trader import ORDER_ID, calls, place, server, trader

__all__ = ["calls", "server", "trader"]

# Cancelled callers


async def test_cancelled_caller_waits_for_the_post_to_end(server: Server, trader: AlpacaTrader) -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def hold(request: Request, writer: asyncio.StreamWriter) -> None:
        del request
        arrived.set()
        await release.wait()
        writer.write(http(ORDER))

    server.answer = hold
    task = asyncio.ensure_future(place(trader))
    await arrived.wait()
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(server.requests) == 1


async def test_caller_cancelled_before_the_first_byte_sends_nothing(
    server: Server, trader: AlpacaTrader
) -> None:
    server.always(http(ORDER))
    reached, release = threading.Event(), threading.Event()

    def check() -> None:
        reached.set()
        release.wait(10)

    task = asyncio.ensure_future(trader.place_order(order_request(), before_send=check))
    await asyncio.to_thread(reached.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.requests == []


async def test_closed_adapter_sends_nothing_and_close_waits_for_a_post(server: Server) -> None:
    posted, asked, release = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hold(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.method == "POST":
            posted.set()
            await release.wait()
            writer.write(http(ORDER))
        else:
            asked.set()
            await asyncio.sleep(3600)

    server.answer = hold
    trader = AlpacaTrader(server.settings)
    posting = asyncio.ensure_future(place(trader))
    reading = asyncio.ensure_future(trader.get_account())
    await posted.wait()
    await asked.wait()
    closing = asyncio.ensure_future(trader.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    with pytest.raises(NothingSent, match="closed"):
        await place(trader)
    release.set()
    await closing
    await posting
    with pytest.raises(NetworkError):
        await reading


async def test_import_of_the_adapter_does_not_load_alpaca() -> None:
    code = "import sys, broker.alpaca.trader; assert not any(m.startswith('alpaca') for m in sys.modules)"
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await done.wait() == 0


def test_adapter_is_what_the_ports_ask_for() -> None:
    """Every method of the port exists with the port's parameters; mypy compares the types."""
    for port, adapter in ((BrokerReader, AlpacaReader), (BrokerTrader, AlpacaTrader)):
        for name, method in inspect.getmembers(port, inspect.isfunction):
            if not name.startswith("_"):
                ours = inspect.signature(getattr(adapter, name)).parameters
                assert list(ours) == list(inspect.signature(method).parameters)


# What is told about a call


async def test_on_call_is_told_once_for_each_request(
    server: Server, trader: AlpacaTrader, calls: list[BrokerCall]
) -> None:
    server.always(http(ORDER, X_Request_ID="req-1"))
    await place(trader)
    await trader.get_order_status(ORDER_ID)
    server.always(http({"code": 40310000, "message": "insufficient buying power"}, 403, X_Request_ID="req-2"))
    with pytest.raises(BrokerError):
        await place(trader)
    seen = [(c.operation, c.method, c.path, c.http_status, c.outcome, c.request_id) for c in calls]
    assert seen == [
        ("place_order", "POST", "/v2/orders", 200, "OK", "req-1"),
        ("get_order_status", "GET", "/v2/orders/{order_id}", 200, "OK", "req-1"),
        ("place_order", "POST", "/v2/orders", 403, "ERR_INSUFFICIENT_FUNDS", "req-2"),
    ]
    assert all(call.latency_ms > 0 for call in calls)


async def test_who_acts_on_an_answer_hears_what_the_request_came_to(
    server: Server, trader: AlpacaTrader
) -> None:
    """Also of requests that other tasks make for it, and of none that was made before or after."""
    server.always(http(ORDER, X_Request_ID="req-1"))
    await place(trader)
    with hearing() as outer:
        with hearing() as calls:
            await asyncio.gather(place(trader), trader.get_order_status(ORDER_ID))
        await trader.get_order_status(ORDER_ID)
    await place(trader)
    assert sorted(call.operation for call in calls) == ["get_order_status", "place_order"]
    assert [call.operation for call in outer] == ["get_order_status"]
    assert [call.operation for call in calls if call.may_change] == ["place_order"]
    [told] = evidence(outer)["calls"]
    assert float(told.pop("latency_ms")) > 0
    assert told == {
        "operation": "get_order_status", "request": "GET /v2/orders/{order_id}", "http_status": 200,
        "outcome": "OK", "request_id": "req-1",
    }  # fmt: skip
    assert evidence([]) == {}


@pytest.mark.parametrize(
    ("method", "outcome", "may"),
    [("DELETE", "OK", True), ("DELETE", "ERR_UNKNOWN_OUTCOME", True), ("DELETE", "ERR_NETWORK", False),
     ("GET", "OK", False), ("POST", "ERR_RATE_LIMIT", True)],
)  # fmt: skip
def test_a_read_and_what_never_left_can_have_changed_nothing(method: str, outcome: str, may: bool) -> None:
    call = BrokerCall("operation", method, "/v2/orders", None, outcome, 1.0, None)
    assert call.may_change is may


async def test_broken_on_call_does_not_lose_a_placed_order(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(call: BrokerCall) -> None:
        raise RuntimeError(call.operation)

    server.always(http(ORDER))
    trader = AlpacaTrader(server.settings, on_call=broken)
    await place(trader)
    await trader.close()
    assert "on_call failed" in caplog.text


async def test_reader_cannot_place() -> None:
    assert not any("place" in name or "post" in name for name in dir(AlpacaReader))


async def test_secrets_are_in_no_repr_and_no_error(server: Server, trader: AlpacaTrader) -> None:
    server.always(http({"code": 42210000, "message": "no"}, 422))
    with pytest.raises(ValidationRefused) as caught:
        await place(trader)
    seen: list[BaseException | None] = [caught.value]
    while seen[-1] is not None:
        seen.append(seen[-1].__cause__ or seen[-1].__context__)
    assert SECRET not in "".join(repr(vars(error)) for error in seen if error is not None)
    assert SECRET not in repr(server.settings)
    assert SECRET not in repr(vars(trader))


# The budget


class Slow:
    """A budget that gives nobody anything until ``free`` is set, and says once that somebody waits."""

    def __init__(self) -> None:
        self.asked, self.free = asyncio.Event(), asyncio.Event()

    async def take(self, share: Share) -> None:
        self.asked.set()
        await self.free.wait()

    async def give_back(self, share: Share) -> None:
        raise AssertionError("what was sent keeps its token")

    async def heard(self, share: Share, error: BrokerError | None) -> None:
        assert error is None


async def test_the_clock_says_how_long_its_question_stood_with_us(server: Server) -> None:
    """Whoever places the answer between sending and receiving must not count the wait for a request."""
    server.always(
        http(
            {
                "timestamp": "2026-11-23T10:00:00-05:00",
                "is_open": True,
                "next_open": "2026-11-24T09:30:00-05:00",
                "next_close": "2026-11-23T16:00:00-05:00",
            }
        )
    )
    budget = Slow()
    reader = AlpacaReader(server.settings, budget=budget)
    began = time.monotonic()
    asking = asyncio.ensure_future(reader.get_clock())
    await budget.asked.wait()
    stood_from = time.monotonic()
    await asyncio.sleep(0.05)
    stood_until = time.monotonic()
    budget.free.set()
    clock = await asking
    await reader.close()
    assert stood_until - stood_from <= clock.waited_seconds <= time.monotonic() - began
