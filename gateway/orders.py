"""Routes under /v1/orders."""

from typing import Annotated

from fastapi import APIRouter, Path

from gateway.deps import Caller, Deps
from gateway.documents import problems
from gateway.problems import ApiError, not_found
from gateway.signals import own_signal
from schemas.orders import OrderView
from storage.orders import find_by_any_id, read_order

router = APIRouter(prefix="/v1/orders", tags=["orders"])


@router.get("/{order_id}", summary="Read one order", responses=problems(401, 404, 429, 500, 503))
async def one_order(
    order_id: Annotated[str, Path(description="Any of its ids.")], deps: Deps, token: Caller
) -> OrderView:
    """The order under any of its ids: signal, internal, client or broker. Of two answers the one with the
    higher `row_version` is the later truth."""
    async with deps.database.connection() as connection:
        found = await find_by_any_id(connection, order_id) if "\0" not in order_id else None
        if found is None:
            raise not_found("order")
        signal_id, leg, generation = found
        try:
            await own_signal(connection, token, signal_id)
        except ApiError as error:
            raise not_found("order") from error
        return (await read_order(connection, signal_id, leg, generation)).view
