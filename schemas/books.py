"""What executions and journal come to: a day's result."""

from schemas.base import DecimalText, Wire


class DayMoves(Wire):
    """One ticker of one strategy (``$CASH``: cash of no share) over a trading day. Shares signed, US dollars."""

    ticker: str
    strategy: str
    carried: DecimalText
    """Held as the day began."""
    quantity: DecimalText
    """Held now."""
    cash: DecimalText
    """Came (positive) or went during the day, for shares and without."""
    transferred: DecimalText
    """Of it: deposits and withdrawals."""
    unexplained: DecimalText
    """Of it: booked by an overwrite, as the broker has it and nothing says why."""


class DayResult(Wire):
    """What a trading day has come to so far, US dollars."""

    result: DecimalText | None
    """Trades, fees, dividends and what nothing explains; None where a price is missing: see ``unpriced``."""
    unexplained: DecimalText
    """Of it."""
    transferred: DecimalText
    """Deposits less withdrawals, which are no result."""
    unpriced: tuple[str, ...] = ()
    """Tickers without a price of now, or, held overnight, without one of the close before."""
