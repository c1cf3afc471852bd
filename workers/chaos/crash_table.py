"""Which scenario covers which crash point. A point that the source has and no scenario covers is a failed test."""

from fnmatch import fnmatchcase
from typing import Final

from workers.chaos import crash_books as books
from workers.chaos import crash_orders as orders
from workers.chaos.crash_scenario import Scenario

SCENARIOS: Final[tuple[type[Scenario], ...]] = (
    orders.PlaceAndFill,
    orders.FirstOfItsTicker,
    orders.FirstOfAProcess,
    orders.LostAnswer,
    orders.ProvedAbsence,
    orders.RefusedByBroker,
    orders.RefusedPreTrade,
    orders.RefusedByRisk,
    orders.NotSent,
    orders.IntentRefused,
    orders.Cancel,
    orders.CancelBeforePost,
    orders.Gap,
    books.CleanReading,
    books.Drift,
    books.Unsettled,
    books.StrangersOrder,
    books.EndedUnheard,
    books.ReplacedThere,
    books.BooksTooOld,
    books.StartOfExecution,
    books.StartOfOperations,
    books.SetUp,
    books.NewLimits,
    books.Kill,
    books.DriftKill,
)

BESIDE: Final = "beside"
"""No process of the stage: the command line, or what sets a database up."""
VICTIMS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (BESIDE, ("commit console.*", "commit start.[!b]*")),
    ("gateway", ("commit gateway.*", "call temporal.start")),
    ("risk", ("commit risk.*",)),
    (
        "execution",
        (
            "commit market.refreshed", "commit market.pre_trade", "commit placement.*", "commit resolution.*",
            "commit end.*", "commit start.bound", "call get_account", "call get_calendar", "call get_clock",
            "call place_order", "call cancel_order", "call get_order_by_client_id", "call get_order_status",
            "call get_orders",
        ),
    ),
    ("operations", ("*",)),
)  # fmt: skip
"""Who is made to die at which names; the first that fits. Another that passes there may die in its place."""


def victim(name: str) -> str:
    """The process that comes to die there."""
    return next(
        process for process, patterns in VICTIMS if any(fnmatchcase(name, pattern) for pattern in patterns)
    )


def cover() -> dict[str, tuple[type[Scenario], ...]]:
    """Name of a commit or call → the scenarios that pass it, which take turns."""
    found: dict[str, tuple[type[Scenario], ...]] = {}
    for scenario in SCENARIOS:
        for name in scenario.covers:
            found[name] = (*found.get(name, ()), scenario)
    return found
