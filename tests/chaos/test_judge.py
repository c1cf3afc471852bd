"""The judge of fault runs finds each wrong in made-up ledgers, and nothing in a sound one."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import pytest

from schemas.books import DayMoves
from schemas.orders import Action, OrderStatus, OrderType
from schemas.reconciliation import CASH
from schemas.wire import Leg, client_order_id
from tests.servers.processes import REPOSITORY
from workers.chaos.judge import Verdict, judge, posts_after, result_off
from workers.chaos.killer import Kill, choose, percentiles, until_progress, wrong_kills
from workers.chaos.ledger import Ledger, read_ledger
from workers.chaos.ours import Asked, Books, Ours, Row

NAMESPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
ACCOUNT = "account"
PRICE = "100.00"
AT = "2026-11-23T15:00:00.000000Z"


def name(signal_id: str, leg: Leg = Leg.ENTRY, generation: int = 0) -> str:
    return client_order_id(NAMESPACE, ACCOUNT, signal_id, leg, generation)


class Venue:
    """Writes a ledger as the exchange would."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def _add(self, kind: str, **fields: Any) -> int:
        seq = len(self.records) + 1
        self.records.append({"seq": seq, "kind": kind, **fields})
        return seq

    def post(self, own: str, status: int | None, **noted: Any) -> int:
        fields = {"duplicate": False, "fault": None, "arrived_after": len(self.records)} | noted
        return self._add(
            "request", method="POST", route="/v2/orders", client_order_id=own, status=status, **fields
        )

    def look_up(self, own: str, status: int = 404) -> None:
        self._add(
            "request", method="GET", route="/v2/orders:by_client_order_id", client_order_id=own, status=status
        )

    def order(self, own: str, **fields: Any) -> str:
        order_id = f"broker-{len(self.records)}"
        body = {
            "id": order_id, "client_order_id": own, "symbol": "AAPL", "side": "buy", "type": "limit",
            "time_in_force": "day", "qty": "10.000000000", "limit_price": "101.000000000",
            "extended_hours": False, "status": "new", **fields,
        }  # fmt: skip
        self._add("order_created", order=body)
        return order_id

    def placed(self, own: str, status: int | None = 200, **fields: Any) -> str:
        order_id = self.order(own, **fields)
        self.post(own, status)
        return order_id

    def fill(self, order_id: str, quantity: str = "10", status: str = "filled") -> None:
        self._add(
            "order_executed", at=AT, order_id=order_id, qty=quantity, price=PRICE, status=status,
            execution_id=f"execution-{len(self.records)}",
        )  # fmt: skip

    def end(self, order_id: str, status: str = "canceled") -> None:
        self._add("order_changed", order_id=order_id, changes={"status": status})

    @property
    def ledger(self) -> Ledger:
        return read_ledger(self.records)


def asked(signal_id: str, **fields: Any) -> Asked:
    found = Asked(
        signal_id=signal_id, ticker="AAPL", action=Action.BUY_TO_OPEN, order_type=OrderType.MARKET,
        time_in_force="DAY", extended_hours=False, quantity=Decimal(10), stop_price=None, hard_stop_loss=None,
        approved=True, approved_quantity=Decimal(10), approved_limit_price=Decimal("101"),
    )  # fmt: skip
    return replace(found, **fields)


def row(signal_id: str, status: OrderStatus = OrderStatus.FILLED, **fields: Any) -> Row:
    filled = Decimal(10 if status is OrderStatus.FILLED else 0)
    found = Row(signal_id, Leg.ENTRY, name(signal_id), status, status.is_final, filled)
    return replace(found, **fields)


class Case:
    """A filled, a resting, a refused and a cancelled order, all as they should be; tests break one thing."""

    def __init__(self) -> None:
        self.venue = Venue()
        self.filled = self.venue.placed(name("filled"), None)
        self.venue.fill(self.filled)
        self.resting = self.venue.placed(name("resting"))
        self.venue.post(name("refused"), 403)
        self.signals = {each: asked(each) for each in ("filled", "resting", "refused")}
        self.signals["risky"] = asked("risky", approved=False)
        self.rows = {
            "filled": row("filled"),
            "resting": row("resting", OrderStatus.ACKNOWLEDGED),
            "refused": row("refused", OrderStatus.REJECTED),
            "risky": row("risky", OrderStatus.REJECTED, client_order_id=None),
        }
        self.bound = {name(each): (each, Leg.ENTRY) for each in ("filled", "resting", "refused")}
        self.shares = {"AAPL": Decimal(10)}
        self.overwritten: tuple[str, ...] = ()

    def verdict(self) -> Verdict:
        cash = Decimal(-1000)
        ours = Ours(
            NAMESPACE, ACCOUNT, self.signals, tuple(self.rows.values()), self.bound,
            Books(self.shares, cash), self.overwritten,
        )  # fmt: skip
        theirs = Books({"AAPL": Decimal(10)}, cash)
        return judge(self.venue.ledger, ours, theirs, self.signals.keys())


def test_a_sound_run_is_good() -> None:
    verdict = Case().verdict()
    assert verdict.wrong == []
    assert (verdict.figures["signals"], verdict.figures["broker_orders"]) == (4, 2)
    assert (verdict.figures["approved"], verdict.figures["filled"], verdict.figures["resting"]) == (3, 1, 1)


def _second_name(case: Case) -> None:
    case.venue.placed(name("filled", generation=1))


def _second_binding(case: Case) -> None:
    own = "ti-of-its-own"
    case.bound[own] = ("resting", Leg.ENTRY)
    case.venue.placed(own)


def _same_name(case: Case) -> None:
    case.venue.placed(name("resting"))


def _filled_twice(case: Case) -> None:
    case.venue.fill(case.filled)


def _not_stored(case: Case) -> None:
    case.signals["vanished"] = asked("vanished")


def _not_there(case: Case) -> None:
    case.signals["dreamt"] = asked("dreamt")
    case.rows["dreamt"] = row("dreamt")


def _foreign(case: Case) -> None:
    case.venue.placed("somebody-else")


def _denied(case: Case) -> None:
    case.rows["resting"] = row("resting", OrderStatus.FATAL_ERROR)


def _ended_here_alone(case: Case) -> None:
    case.rows["resting"] = row("resting", OrderStatus.REJECTED)


def _rests_unknown(case: Case) -> None:
    case.rows["resting"] = row("resting", OrderStatus.SUBMITTED)


def _timed_out(case: Case) -> None:
    case.venue.post(name("refused"), 504)


def _refused_by_risk(case: Case) -> None:
    case.signals["filled"] = asked("filled", approved=False)


def _unbound(case: Case) -> None:
    del case.bound[name("resting")]


def _field(**fields: Any) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        case.signals["resting"] = asked("resting", **fields)

    return change


def _waits(case: Case) -> None:
    case.rows["refused"] = row("refused", OrderStatus.SUBMITTED)


def _not_settled(case: Case) -> None:
    case.rows["filled"] = row("filled", settled=False)


def _duplicate_refused(case: Case) -> None:
    case.venue.post(name("resting"), 422, duplicate=True)


def _never_looked(case: Case) -> None:
    case.venue.post(name("refused"), 403)


def _double_booked(case: Case) -> None:
    case.rows["filled"] = row("filled", filled=Decimal(20))


def _shares(case: Case) -> None:
    case.shares = {"AAPL": Decimal(20)}


def _naked(case: Case) -> None:
    case.signals["filled"] = asked("filled", hard_stop_loss=Decimal(90))


def _overwritten(case: Case) -> None:
    case.overwritten = ("AAPL",)


@pytest.mark.parametrize(
    ("broken", "figure"),
    [
        (_second_name, "duplicates"), (_second_binding, "duplicates"), (_same_name, "duplicates"),
        (_filled_twice, "duplicates"), (_not_stored, "lost"), (_not_there, "lost"), (_foreign, "lost"),
        (_denied, "lost"), (_ended_here_alone, "lost"), (_timed_out, "lost"),
        (_refused_by_risk, "unapproved"), (_unbound, "unapproved"),
        (_field(ticker="MSFT"), "unapproved"), (_field(action=Action.SELL_TO_OPEN), "unapproved"),
        (_field(approved_quantity=Decimal(9)), "unapproved"), (_field(time_in_force="GTC"), "unapproved"),
        (_field(approved_limit_price=Decimal("100.99")), "unapproved"),
        (_field(order_type=OrderType.STOP_LIMIT), "unapproved"),
        (_field(stop_price=Decimal(99)), "unapproved"), (_field(extended_hours=True), "unapproved"),
        (_waits, "unfinished"), (_rests_unknown, "unfinished"), (_not_settled, "unfinished"),
        (_duplicate_refused, "reposted_blind"),
        (_never_looked, "reposted_blind"), (_double_booked, "misfilled"), (_shares, "positions_off"),
        (_overwritten, "overwritten"), (_naked, "uncovered"),
    ],
)  # fmt: skip
def test_each_wrong_is_found(broken: Callable[[Case], None], figure: str) -> None:
    """How: one thing broken in a sound run; its figure, and a reason."""
    case = Case()
    broken(case)
    verdict = case.verdict()
    assert verdict.figures[figure] > 0, verdict
    assert verdict.wrong


def test_cash_is_compared_to_the_cent() -> None:
    ours = Ours(NAMESPACE, ACCOUNT, {}, (), {}, Books({}, Decimal("10.00")))
    assert judge(Ledger(), ours, Books({}, Decimal("10.00")), ()).wrong == []
    assert judge(Ledger(), ours, Books({}, Decimal("10.01")), ()).wrong


def test_the_days_result_is_compared_to_the_cent() -> None:
    """Ten shares bought at 100.00, now worth 101.00 each; a deposit that the broker counts in; a fee."""
    moved = {"strategy": "momentum", "carried": Decimal(0), "unexplained": Decimal(0)}
    shares = DayMoves(
        ticker="AAPL", quantity=Decimal(10), cash=Decimal(-1000), transferred=Decimal(0), **moved
    )
    cash = DayMoves(ticker=CASH, quantity=Decimal(0), cash=Decimal(48), transferred=Decimal(50), **moved)
    ours = Books({"AAPL": Decimal(10)}, Decimal(0), moves=(shares, cash))
    prices = {"AAPL": Decimal("101.00")}
    for gained, off in (("58.00", "0"), ("58.01", "0.01")):
        theirs = Books(ours.shares, ours.cash, prices=prices, gained=Decimal(gained))
        assert result_off(ours, theirs) == Decimal(off)
        found = judge(Ledger(), Ours(NAMESPACE, ACCOUNT, {}, (), {}, ours), theirs, ())
        assert bool(found.wrong) is (off != "0")
    assert result_off(ours, Books({}, Decimal(0), gained=Decimal(0))) > 1_000_000, "no price, no result"


def test_a_post_may_follow_a_429_or_a_look_up_that_found_nothing() -> None:
    case = Case()
    case.venue = Venue()
    own = name("resting")
    case.venue.post(own, 429)
    case.venue.post(own, 500)
    case.venue.look_up(own)
    case.venue.placed(own)
    assert case.verdict().figures["reposted_blind"] == 0


def test_three_look_ups_prove_absence() -> None:
    """How: a POST answered 504, ended as FATAL_ERROR; two 404s prove nothing, the third does."""
    case = Case()
    case.signals["gone"], case.rows["gone"] = asked("gone"), row("gone", OrderStatus.FATAL_ERROR)
    own = name("gone")
    case.venue.post(own, 504)
    case.venue.look_up(own)
    case.venue.look_up(own)
    assert case.verdict().figures["lost"] == 1
    case.venue.look_up(own)
    assert case.verdict().wrong == []


def test_a_stop_follows_its_former_one_only_after_that_has_ended() -> None:
    """How: two generations of a stop, the second placed before and after the end of the first."""
    for ended_first in (True, False):
        case = Case()
        case.signals["filled"] = asked("filled", hard_stop_loss=Decimal(90))
        for generation in (0, 1):
            own = name("filled", Leg.STOP, generation)
            case.bound[own] = ("filled", Leg.STOP)
            case.rows[own] = row("filled", OrderStatus.ACKNOWLEDGED, leg=Leg.STOP, client_order_id=own)
            stop = case.venue.placed(
                own, side="sell", type="stop", stop_price="90", limit_price=None, time_in_force="gtc"
            )
            if ended_first and generation == 0:
                case.venue.end(stop)
                case.rows[own] = row("filled", OrderStatus.CANCELED, leg=Leg.STOP, client_order_id=own)
        assert case.verdict().figures["duplicates"] == (0 if ended_first else 1)


def test_a_stop_covers_what_is_held() -> None:
    """How: a stop for all of it; then some of it executed, entry and stop alike."""
    case = Case()
    case.signals["filled"] = asked("filled", hard_stop_loss=Decimal(90))
    own = name("filled", Leg.STOP)
    case.bound[own] = ("filled", Leg.STOP)
    case.rows[own] = row("filled", OrderStatus.ACKNOWLEDGED, leg=Leg.STOP, client_order_id=own)
    stop = case.venue.placed(
        own, side="sell", type="stop", stop_price="90", limit_price=None, time_in_force="gtc"
    )
    assert case.verdict().wrong == []
    case.venue.fill(stop, "4", "partially_filled")
    assert case.verdict().figures["uncovered"] == 0
    case.venue.end(stop)
    assert case.verdict().figures["uncovered"] == 1


def test_posts_after_a_record_are_named() -> None:
    venue = Venue()
    before = venue.post("ti-1", 200)
    venue.post("ti-2", 200)
    assert posts_after(venue.ledger, before) == {"ti-2"}


def test_a_bust_takes_its_execution_back() -> None:
    venue = Venue()
    order_id = venue.placed("ti-1")
    venue.fill(order_id)
    venue.records.append({"seq": 99, "kind": "execution_busted", "execution_id": "execution-2"})
    assert venue.ledger.orders[order_id].filled == 0


def test_faults_are_counted_from_requests_and_frames() -> None:
    venue = Venue()
    venue.post("ti-1", None, fault="drop_after_landing")
    venue.records.append({"seq": 2, "kind": "fault", "action": "drop_frame"})
    assert venue.ledger.faults == {"drop_after_landing": 1, "drop_frame": 1}


def kills(victims: list[str], **fields: Any) -> list[Kill]:
    return [
        replace(Kill(each, float(at), 1.0, former_ready=True), **fields) for at, each in enumerate(victims)
    ]


@pytest.mark.parametrize("count", [5, 20, 200, 1000])
def test_victims_are_as_many_as_a_run_needs(count: int) -> None:
    victims = choose(count, Random(7))
    assert wrong_kills(kills(victims), count) == []
    assert victims == choose(count, Random(7))


def test_too_few_and_too_early_kills_are_wrong() -> None:
    victims = choose(200, Random(7))
    assert wrong_kills(kills(victims[:-1]), 200)
    assert wrong_kills(kills([each for each in victims if each != "orders"]), len(victims) - 1)
    assert wrong_kills(kills(victims, former_ready=False), 200)


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentiles([]) == {"p50": None, "p99": None, "max": None}
    assert percentiles(range(1, 101)) == {"p50": 50, "p99": 99, "max": 100}


def test_progress_is_counted_from_the_kill() -> None:
    assert until_progress(kills(["orders", "risk", "orders"]), [0.5, 0.9, 1.25]) == [0.5, 0.25]


def test_every_part_that_the_slow_tests_take_out_is_where_they_look() -> None:
    """How: in a process of its own, which ends with everything patched."""
    command = "from tests.chaos.broken import check; check()"
    done = subprocess.run(
        (sys.executable, "-c", command), cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
