"""What the product asks of a broker. Two ports: who holds only a ``BrokerReader`` cannot place an order."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Protocol

from schemas.broker import Account, BrokerClock, CalendarDay, CashActivity, Position, TradeUpdate
from schemas.orders import BrokerOrder, CancelAnswer, Fill, OrderRequest

if TYPE_CHECKING:
    from broker.permit import LivePermit


class BrokerReader(Protocol):
    """Read everything, cancel anything, place nothing. Every method raises ``BrokerError`` subclasses only.

    A read that fails or comes back truncated raises; it never returns a part as if it were the whole.
    """

    async def authenticate(self) -> Account:
        """Prove that the keys are accepted and return the account.

        Raises:
            Unauthorized: the broker does not accept the keys.
        """
        ...

    async def get_account(self) -> Account: ...

    async def get_positions(self) -> Sequence[Position]: ...

    async def get_open_orders(self) -> Sequence[BrokerOrder]:
        """All open orders, walked page by page (500 a page), each once."""
        ...

    async def get_orders(self, *, after: datetime, until: datetime) -> Sequence[BrokerOrder]:
        """All orders of any status submitted strictly between the two times, page by page."""
        ...

    async def get_order_status(self, broker_order_id: str) -> BrokerOrder:
        """Raises:
        NotFound: the broker does not know the id.
        """
        ...

    async def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder:
        """Raises:
        NotFound: the broker does not know the id (a JSON 404 only; anything else is NetworkError).
        """
        ...

    async def get_fills(self, since: datetime) -> Sequence[Fill]:
        """All executions strictly after ``since``, oldest first, page by page."""
        ...

    async def get_cash_activities(self, since: datetime) -> Sequence[CashActivity]:
        """Cash that moved without a trade strictly after ``since``: fees, dividends, deposits; page by page."""
        ...

    async def cancel_order(self, broker_order_id: str) -> CancelAnswer:
        """Ask for the cancel. REQUESTED means asked, not cancelled: a fill can win the race.

        Returns UNKNOWN_OUTCOME where the answer was lost, instead of raising.

        Raises:
            NotCancelable: the order lives but takes no cancel now (a replace is pending).
            NothingSent, RateLimited, Unauthorized: nothing was asked.
        """
        ...

    async def cancel_all(self) -> dict[str, CancelAnswer]:
        """Ask to cancel every open order; the answer by broker order id.

        Raises:
            UnknownOutcome: the answer was lost; some or all may have been asked.
        """
        ...

    async def get_clock(self) -> BrokerClock:
        """The market's clock; ``waited_seconds`` says how long the question stood before it was sent."""
        ...

    async def get_calendar(self, start: date, end: date) -> Sequence[CalendarDay]: ...

    def stream_trade_updates(self) -> "TradeUpdateStream": ...

    async def close(self) -> None: ...


class BrokerTrader(BrokerReader, Protocol):
    """A reader that may place. Only the execution worker holds one."""

    async def place_order(
        self, order: OrderRequest, *, before_send: Callable[[], None], permit: "LivePermit | None" = None
    ) -> BrokerOrder:
        """POST the order exactly once: no hidden retry, connect 2 s, read 10 s, total 15 s.

        ``before_send`` runs in the sending thread right before the first byte; what it raises is passed on
        unchanged and nothing is sent. It runs again before every further piece, where a no leaves the request
        unfinished and the outcome unknown. Cancelling the caller does not return before that thread has ended.

        At the live brokerage nothing is sent without a ``permit`` of this very moment.

        Raises:
            NothingSent: no byte left; safe to try again.
            RateLimited: refused unread; safe to try again later.
            DuplicateOrder: this id is already at the broker.
            UnknownOutcome: it may stand at the broker.
            BrokerError with ``refusal``: proved not placed.
            Unauthorized: proves nothing.
        """
        ...


class TradeUpdateStream(Protocol):
    """One connection to the update stream. It never reconnects: the holder catches up and opens a new one."""

    async def __aenter__(self) -> "TradeUpdateStream":
        """Connect, authenticate and listen. Raises BrokerError."""
        ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    def __aiter__(self) -> AsyncIterator[TradeUpdate]:
        """Updates until the peer closes in good order; then the loop just ends.

        Raises:
            NetworkError: it broke, or a frame cannot be read; what follows an unread frame is not told.
            Unauthorized: the keys are no longer accepted.
        """
        ...

    async def ping(self, timeout_seconds: float) -> None:
        """Prove that the peer answers. Raises NetworkError."""
        ...
