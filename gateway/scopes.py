"""A token that asks for more than it may: refused, and written down."""

from collections.abc import Collection
from typing import Final

from gateway.deps import GatewayDeps
from gateway.problems import ApiError, Code, FieldProblem
from storage.signals import Token
from storage.tokens import note_refused_use

_CODES: Final = {
    "strategy": Code.STRATEGY_FORBIDDEN,
    "ticker": Code.TICKER_FORBIDDEN,
    "topic": Code.TOPIC_FORBIDDEN,
}


async def refused_use(
    deps: GatewayDeps,
    token: Token,
    scope: str,
    wanted: str,
    allowed: Collection[str] | None,
    *,
    signal_id: str | None = None,
) -> ApiError:
    """403, with an audit row of the try: somebody's token is in wrong hands, or in wrong use."""
    async with deps.database.transaction("gateway.token_refused") as connection:
        await note_refused_use(
            connection, token, scope=scope, wanted=wanted, now=deps.now(), signal_id=signal_id
        )
    may = ", ".join(sorted(allowed or ()))
    return ApiError(
        403, _CODES[scope], f"this token may not use {scope} {wanted}",
        fields=[FieldProblem(field=scope, message=f"must be one of: {may}")],
    )  # fmt: skip
