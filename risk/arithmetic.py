"""Exact arithmetic: a limit is never decided on a rounded number."""

import decimal
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Final

from schemas.base import decimal_text

DIGITS: Final = 200
"""Far beyond any product of four numbers of 15 digits and 9 decimals, the largest we accept."""

HUNDREDTH: Final = Decimal("0.01")
HALF: Final = Decimal("0.5")

_EXACT: Final = decimal.Context(
    prec=DIGITS,
    traps=[decimal.Inexact, decimal.InvalidOperation, decimal.Overflow, decimal.DivisionByZero],
)
_ROUNDING: Final = decimal.Context(prec=DIGITS, traps=[decimal.InvalidOperation, decimal.DivisionByZero])


class InexactNumberError(ArithmeticError):
    """A number is too long to be computed with exactly, so nothing was decided. Correct the stored value."""


@contextmanager
def exact() -> Iterator[None]:
    """Compute without rounding in this block.

    Raises:
        InexactNumberError: a result would have had to be rounded, or is not a number.
    """
    try:
        with decimal.localcontext(_EXACT):
            yield
    except decimal.DecimalException as error:
        raise InexactNumberError(
            f"not computable exactly in {DIGITS} digits: {type(error).__name__}"
        ) from error


def rounded(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    """``value`` on the grid of ``step`` (a power of ten), rounded as ``decimal`` names it."""
    return value.quantize(step, rounding=rounding, context=_ROUNDING)


def percent_of(part: Decimal, whole: Decimal, decimals: Decimal) -> Decimal:
    """100 × part ÷ whole, rounded for display only. ``whole`` is not zero."""
    ratio = _ROUNDING.divide(_ROUNDING.multiply(part, Decimal(100)), whole)
    return rounded(ratio, decimals, decimal.ROUND_HALF_EVEN)


def text(value: Decimal) -> str:
    """The number as it stands in checks and formulas."""
    return decimal_text(value)
