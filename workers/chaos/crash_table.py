"""Which scenario covers which crash point, and the runs of a sweep.

A point that the source has and no scenario covers is a failed test.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from workers.chaos import crash_acts as acts
from workers.chaos import crash_alerts as alerts
from workers.chaos import crash_audit as audit
from workers.chaos import crash_books as books
from workers.chaos import crash_cold as cold
from workers.chaos import crash_events as events
from workers.chaos import crash_keys as keys
from workers.chaos import crash_orders as orders
from workers.chaos import crash_people as people
from workers.chaos import crash_sign_in as sign_in
from workers.chaos import crash_tokens as tokens
from workers.chaos import crash_watch as watch
from workers.chaos.crash_scenario import Scenario
from workers.chaos.points import MOMENTS, names
from workers.chaos.victims import CONSOLE

REPEATS: Final = 3
SHORT: Final = (
    "commit gateway.signal after",
    "call place_order after",
    "commit evidence.taken_in before",
)
"""The most dangerous ones, for a quick look: a signal stored, posted, filled, and nobody heard of it."""
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
    orders.CancelNotThere,
    orders.Gap,
    orders.Protected,
    watch.MissedFill,
    watch.FillsMissing,
    watch.BrokerHalt,
    watch.Denied,
    watch.ProvedGone,
    watch.DeniedStop,
    watch.FundsCovered,
    watch.AlertCleared,
    alerts.AlertTold,
    alerts.AlertResent,
    alerts.Woken,
    audit.AuditSealed,
    audit.AuditLed,
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
    books.KillDirect,
    books.DriftKill,
    people.StrategyDisabled,
    people.StrategyEnabled,
    people.PeakReset,
    people.BuildPromoted,
    people.KeysRotated,
    people.PayloadKeysAdded,
    people.PayloadsRead,
    keys.BrokerKeysRotated,
    people.LossKill,
    acts.TickerLocked,
    acts.TickerUnlocked,
    acts.AlertSeenTo,
    acts.SecondPerson,
    acts.ClosedByConsole,
    acts.LiveAsked,
    sign_in.ComesIn,
    sign_in.SignsIn,
    sign_in.ChangesOwn,
    sign_in.PeopleByCommand,
    tokens.TokenMade,
    tokens.TokenRevoked,
    tokens.TokenUsed,
    tokens.LiveRevoked,
    cold.EventsMoved,
    cold.CopyWrong,
    cold.MonthDropped,
    cold.DropRefused,
    cold.Restored,
    cold.RetentionWatched,
    events.EventsTaken,
    events.EventsInRedis,
    events.GroupSetBack,
    events.LetterPutBack,
    events.GroupDropped,
)

BESIDE: Final = "beside"
"""No process of the stage: the command line, or what sets a database up."""
VICTIMS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (CONSOLE, ("commit console.approval_[!k]*", "commit console.close_asked", "commit console.live_asked")),
    (
        BESIDE,
        (
            "commit console.*", "commit start.[!b]*", "commit bus.group_created", "commit bus.taken",
            "commit bus.failed", "commit bus.acknowledged", "commit people.invited", "commit people.changed",
            "commit people.first_admin",
        ),
    ),
    (CONSOLE, ("commit people.*",)),
    ("gateway", ("commit gateway.*", "call temporal.start")),
    ("risk", ("commit risk.*",)),
    (
        "execution",
        (
            "commit market.refreshed", "commit market.pre_trade", "commit placement.*", "commit resolution.*",
            "commit end.*", "commit protection.*",
            "commit start.bound", "commit clock.*", "call get_account", "call get_calendar", "call get_clock",
            "call place_order", "call cancel_order", "call get_order_by_client_id", "call get_order_status",
            "call get_orders", "commit budget.*", "commit halt.counted", "commit halt.forgotten",
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


@dataclass
class Run:
    """One death to be brought about, or several of one scenario."""

    scenario: type[Scenario]
    points: tuple[str, ...]
    number: int
    died: dict[str, str] = field(default_factory=dict)
    """Point → the process that died there."""
    wrong: str | None = None

    @property
    def victim(self) -> str:
        return victim(self.points[0].rpartition(" ")[0])

    @property
    def title(self) -> str:
        return f"{self.scenario.__name__} at {', '.join(self.points)} (run {self.number})"


def plan(patterns: Iterable[str] = (), repeats: int = REPEATS) -> list[Run]:
    """The runs: each point as often as asked, its scenarios in turn; the repeats of a point are far apart."""
    patterns, covered, runs = tuple(patterns), cover(), []
    for number in range(repeats):
        together: dict[type[Scenario], list[str]] = defaultdict(list)
        for name in names():
            scenarios = covered[name]
            for turn, moment in enumerate(MOMENTS):
                point = f"{name} {moment}"
                if patterns and not any(fnmatchcase(point, pattern) for pattern in patterns):
                    continue
                scenario = scenarios[(number + turn) % len(scenarios)]
                if scenario.together:
                    together[scenario].append(point)
                else:
                    runs.append(Run(scenario, (point,), number))
        runs += [Run(scenario, tuple(points), number) for scenario, points in together.items()]
    return runs
