"""Alpaca behind the broker ports, on the official alpaca-py client, unmodified, in raw mode."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from broker.alpaca import pages, parse
from broker.alpaca.calls import Calls, Operation, load_library
from broker.alpaca.cancels import answer_of, answers_of_all
from broker.alpaca.errors import Kind
from broker.alpaca.settings import AlpacaSettings
from broker.alpaca.stream import AlpacaTradeUpdateStream
from broker.budget import BrokerBudget, Share
from broker.errors import NotCancelable, NotFound, UnknownOutcome, ValidationRefused
from broker.keys import BrokerKeys, KeyPair
from broker.told import OnCall
from schemas.broker import Account, BrokerClock, CalendarDay, CashActivity, Position
from schemas.orders import BrokerOrder, CancelAnswer, Fill

if TYPE_CHECKING:
    from alpaca.trading.client import TradingClient

_T = TypeVar("_T")

_ACCOUNT = Operation("get_account", "GET", "/v2/account", Kind.READ, Share.READS)
_POSITIONS = Operation("get_positions", "GET", "/v2/positions", Kind.READ, Share.READS)
_OPEN_ORDERS = Operation("get_open_orders", "GET", "/v2/orders", Kind.READ, Share.READS)
_ORDERS = Operation("get_orders", "GET", "/v2/orders", Kind.READ, Share.READS)
_ORDER = Operation("get_order_status", "GET", "/v2/orders/{order_id}", Kind.READ, Share.ORDERS)
_BY_CLIENT_ID = Operation(
    "get_order_by_client_id", "GET", "/v2/orders:by_client_order_id", Kind.READ, Share.ORDERS
)
_FILLS = Operation("get_fills", "GET", "/v2/account/activities/FILL", Kind.READ, Share.READS)
_ACTIVITIES = Operation("get_cash_activities", "GET", "/v2/account/activities", Kind.READ, Share.READS)
_CANCEL = Operation("cancel_order", "DELETE", "/v2/orders/{order_id}", Kind.CANCEL, Share.STOPS)
_CANCEL_ALL = Operation("cancel_all", "DELETE", "/v2/orders", Kind.CANCEL, Share.STOPS)
_CLOCK = Operation("get_clock", "GET", "/v2/clock", Kind.READ, Share.READS)
_CALENDAR = Operation("get_calendar", "GET", "/v2/calendar", Kind.READ, Share.READS)


class AlpacaReader:
    """``BrokerReader``: reads and cancels. It has no way to place an order."""

    def __init__(
        self,
        settings: AlpacaSettings,
        *,
        on_call: OnCall | None = None,
        budget: BrokerBudget | None = None,
        keys: BrokerKeys | None = None,
    ) -> None:
        """``keys``: those that may be replaced while this is used; by default the settings', for ever."""
        self._settings = settings
        self.mode = settings.mode
        self._keys = keys or BrokerKeys(KeyPair(settings.key_id, settings.secret_key))
        self._calls = Calls(settings, on_call, budget, self._keys)

    async def authenticate(self) -> Account:
        """As the port says. Called first, it also pays for alpaca-py's slow import, outside the call's time."""
        await asyncio.to_thread(load_library)
        return await self.get_account()

    async def get_account(self) -> Account:
        return await self._calls.run(_ACCOUNT, lambda client: client.get_account(), parse.account)

    async def get_positions(self) -> Sequence[Position]:
        return await self._list(_POSITIONS, lambda client: client.get_all_positions(), parse.position)

    async def get_open_orders(self) -> Sequence[BrokerOrder]:
        return await pages.all_orders(partial(self._orders_page, _OPEN_ORDERS, "open", None), None)

    async def get_orders(self, *, after: datetime, until: datetime) -> Sequence[BrokerOrder]:
        return await pages.all_orders(partial(self._orders_page, _ORDERS, "all", until), after)

    async def get_order_status(self, broker_order_id: str) -> BrokerOrder:
        _check_order_id(broker_order_id)
        return await self._calls.run(
            _ORDER, lambda client: client.get_order_by_id(broker_order_id), parse.order
        )

    async def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder:
        return await self._calls.run(
            _BY_CLIENT_ID, lambda client: client.get_order_by_client_id(client_order_id), parse.order
        )

    async def get_fills(self, since: datetime) -> Sequence[Fill]:
        return await pages.all_fills(partial(self._fills_page, since))

    async def get_cash_activities(self, since: datetime) -> Sequence[CashActivity]:
        return await pages.all_activities(partial(self._activities_page, since))

    async def cancel_order(self, broker_order_id: str) -> CancelAnswer:
        """As the port says.

        Raises:
            NotCancelable: not now, though the order has not ended (a replace is pending).
            NothingSent, RateLimited, Unauthorized: nothing was asked.
        """
        _check_order_id(broker_order_id)
        try:
            await self._calls.run(
                _CANCEL, lambda client: client.cancel_order_by_id(broker_order_id), lambda _: None
            )
        except (NotCancelable, NotFound, UnknownOutcome) as error:
            return answer_of(error)
        return CancelAnswer.REQUESTED

    async def cancel_all(self) -> dict[str, CancelAnswer]:
        return await self._calls.run(_CANCEL_ALL, lambda client: client.cancel_orders(), answers_of_all)

    async def get_clock(self) -> BrokerClock:
        asked = sent = time.monotonic()

        def ask(client: "TradingClient") -> object:
            nonlocal sent
            sent = time.monotonic()
            return client.get_clock()

        clock = await self._calls.run(_CLOCK, ask, parse.clock)
        return clock.model_copy(update={"waited_seconds": sent - asked})

    async def get_calendar(self, start: date, end: date) -> Sequence[CalendarDay]:
        params = {"start": start.isoformat(), "end": end.isoformat()}
        return await self._list(_CALENDAR, lambda client: client.get("/calendar", params), parse.calendar_day)

    def stream_trade_updates(self) -> AlpacaTradeUpdateStream:
        return AlpacaTradeUpdateStream(self._settings.stream_url, self._keys)

    async def close(self) -> None:
        await self._calls.close()

    async def _list(
        self, operation: Operation, use: Callable[["TradingClient"], object], row: Callable[[Any], _T]
    ) -> list[_T]:
        return await self._calls.run(operation, use, lambda raw: [row(item) for item in parse.as_list(raw)])

    async def _orders_page(
        self, operation: Operation, status: str, until: datetime | None, after: datetime | None
    ) -> Sequence[BrokerOrder]:
        params: dict[str, str] = {
            "status": status,
            "limit": str(pages.ORDERS_PAGE_SIZE),
            "direction": "asc",
            "nested": "false",
        }
        if after is not None:
            params["after"] = after.isoformat()
        if until is not None:
            params["until"] = until.isoformat()
        return await self._list(operation, lambda client: client.get("/orders", params), parse.order)

    async def _fills_page(self, since: datetime, token: str | None) -> Sequence[Fill]:
        params = _page_params(since, token)
        return await self._list(
            _FILLS, lambda client: client.get("/account/activities/FILL", params), parse.fill_activity
        )

    async def _activities_page(
        self, since: datetime, token: str | None
    ) -> Sequence[tuple[str, CashActivity | None]]:
        params = {**_page_params(since, token), "category": "non_trade_activity"}
        return await self._list(
            _ACTIVITIES,
            lambda client: client.get("/account/activities", params),
            lambda row: (parse.activity_id(row), parse.cash_activity(row)),
        )


def _page_params(since: datetime, token: str | None) -> dict[str, str]:
    params = {"after": since.isoformat(), "direction": "asc", "page_size": str(pages.ACTIVITIES_PAGE_SIZE)}
    if token is not None:
        params["page_token"] = token
    return params


def _check_order_id(broker_order_id: str) -> None:
    """Alpaca's ids are UUIDs; anything else would be part of a path."""
    try:
        UUID(broker_order_id)
    except ValueError:
        raise ValidationRefused(f"{broker_order_id!r} is not an Alpaca order id; nothing was asked") from None
