"""Fault plans: what they draw, how they are ordered, and how a wrong one is refused. No server here but one."""

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from simulation.fault_plan import FaultPlan, WrongPlan, read_header, read_order, read_plan
from simulation.faults import Fault, Match, OrderFacts, RequestFacts, SocketFacts
from simulation.injecting import Faults
from simulation.mixes import load_mix, mix_names, named_plan
from simulation.server import start_in_thread
from tests.exchange.conftest import Venue, connect, settings
from workers import exchange, exchange_faults
from workers.exchange import launch_from

POST = RequestFacts("POST", "/v2/orders", "one", "AAPL")
READ = RequestFacts("GET", "/v2/account", None, None, can_mislead=True)
OCCASIONS = 20_000
SHARES = {
    "drop_after_landing": Decimal("0.10"),
    "status_504_after_landing": Decimal("0.05"),
    "status_500": Decimal("0.05"),
    "status_429": Decimal("0.05"),
    "latency_ms": Decimal("0.02"),
}


def drawn(faults: Faults, occasions: int, between: int = 0) -> list[str | None]:
    found: list[str | None] = []
    for _ in range(occasions):
        for _ in range(between):
            faults.for_request(READ)
        injected = faults.for_request(POST)
        found.append(injected.fault.action if injected else None)
    return found


def of(plan: FaultPlan) -> Faults:
    faults = Faults()
    faults.add_plan(plan)
    return faults


def chance(action: str, probability: str, **options: Any) -> dict[str, Any]:
    return {"action": action, "probability": probability, **options}


def test_each_fault_of_the_standard_mix_has_its_own_share_of_the_whole() -> None:
    counts = Counter(drawn(of(load_mix("standard", seed=7)), OCCASIONS))
    for action, share in SHARES.items():
        assert abs(counts[action] / OCCASIONS - float(share)) < 0.006, action
    assert set(counts) == {*SHARES, None}


def test_the_same_seed_draws_the_same_and_another_seed_something_else() -> None:
    first, again, other = (drawn(of(load_mix("standard", seed)), 200) for seed in (3, 3, 4))
    assert first == again != other


def test_what_happens_on_other_occasions_changes_no_draw() -> None:
    plan = FaultPlan.model_validate(
        {"name": "two", "faults": [{"match": {"method": "POST"}, **chance("status_500", "0.3")},
                                   {"match": {"method": "GET"}, **chance("status_503", "0.5")}]}
    )  # fmt: skip
    assert drawn(of(plan), 100) == drawn(of(plan), 100, between=3)


def test_two_faults_ordered_one_by_one_are_drawn_apart() -> None:
    faults = Faults(seed=5)
    for action in ("status_500", "status_503"):
        faults.add(Fault.model_validate(chance(action, "0.5")))
    counts = Counter(drawn(faults, 1_000))
    assert min(counts["status_500"], counts["status_503"], counts[None]) > 150


def test_times_bound_a_chance_and_skip_comes_before_it() -> None:
    faults = Faults()
    faults.add(Fault.model_validate(chance("status_500", "1", times=2, skip=3)))
    assert drawn(faults, 6) == [None] * 3 + ["status_500"] * 2 + [None]
    assert faults.pending() == []


def test_a_certain_fault_comes_before_every_chance_and_null_times_never_end() -> None:
    faults = Faults()
    faults.add(Fault.model_validate(chance("status_500", "1")))
    faults.add(Fault(action="status_503"))
    assert drawn(faults, 3) == ["status_503", "status_500", "status_500"]
    faults.clear()
    faults.add(Fault(action="status_503", times=None))
    assert drawn(faults, 50) == ["status_503"] * 50
    assert faults.pending()[0]["times"] is None


def test_a_plan_that_is_cleared_and_ordered_again_draws_from_the_start() -> None:
    faults = of(load_mix("standard"))
    faults.add(Fault(action="reject_order"))
    first = drawn(faults, 100)
    faults.clear("standard")
    assert [row["action"] for row in faults.pending()] == ["reject_order"]
    assert drawn(faults, 10) == [None] * 10
    faults.add_plan(load_mix("standard"))
    assert drawn(faults, 100) == first
    faults.add_plan(load_mix("standard"))
    assert drawn(faults, 100) != first, "the same plan twice at once is no echo of itself"


def test_a_refusal_lasts_and_a_second_socket_is_one_too_many() -> None:
    now_seconds = 0.0
    faults = Faults(clock_seconds=lambda: now_seconds)
    faults.add(Fault(action="refuse_socket", lasts_ms=90_000))
    wanted = SocketFacts("trade_updates")
    for now_seconds, refused in ((10.0, True), (50.0, True), (99.9, True), (100.1, False)):
        assert (faults.for_socket(wanted) is not None) is refused, now_seconds
    faults.add(Fault(action="refuse_second_socket", lasts_ms=90_000, times=None))
    vacant = [None, 0, 89_000, 90_001]
    told = [faults.for_socket(SocketFacts("trade_updates", each)) is not None for each in vacant]
    assert told == [False, True, True, False]


def test_faults_of_the_venue_meet_only_what_they_can_do() -> None:
    faults, order = Faults(), OrderFacts("one", "AAPL")
    faults.add(Fault(action="stuck_cancel"))
    faults.add(Fault(action="reject_order"))
    assert [injected and injected.fault.action for injected in (
        faults.for_acknowledgement(order), faults.for_acknowledgement(order), faults.for_cancel(order)
    )] == ["reject_order", None, "stuck_cancel"]  # fmt: skip
    faults.add(Fault(action="stale_read"))
    assert drawn(faults, 1) == [None], "a POST is no read"
    assert faults.for_request(READ) is not None


@pytest.mark.parametrize(
    ("plan", "field", "text"),
    [
        ("{", "plan", "Invalid JSON"),
        ("[]", "plan", "object"),
        ('{"name":"a b","faults":[{"action":"status_500"}]}', "name", "match pattern"),
        ('{"name":"a","faults":[]}', "faults", "at least 1"),
        ('{"name":"a","faults":[{"action":"explode"}]}', "faults.0.action", "status_500"),
        ('{"name":"a","faults":[{"action":"status_500","probability":1.5}]}', "faults.0.probability", "less"),
        ('{"name":"a","faults":[{"action":"status_500","when":1}]}', "faults.0.when", "Extra"),
        ('{"name":"a","faults":[{"action":"status_500","lasts_ms":1}]}', "faults.0", "lasts_ms goes with"),
        ('{"name":"a","faults":[{"action":"slow_body"}]}', "faults.0", "needs latency_ms"),
        ('{"name":"a","faults":[{"action":"correct_fill"}]}', "faults.0", "needs price, qty"),
        ('{"name":"a","seed":"x","faults":[{"action":"status_500"}]}', "seed", "integer"),
    ],
)
def test_a_wrong_plan_is_refused_with_its_field(plan: str, field: str, text: str) -> None:
    with pytest.raises(WrongPlan) as caught:
        read_plan(plan)
    assert list(caught.value.problems) == [field]
    assert text in caught.value.problems[field]


def test_plans_survive_their_json_and_faults_need_no_plan() -> None:
    for name in mix_names():
        plan = load_mix(name, 9)
        assert read_order(json.dumps(plan.as_json()).encode()) == plan
    alone = read_order(b'{"action":"status_500","times":null}')
    assert isinstance(alone, Fault)
    assert read_order(json.dumps(alone.as_json()).encode()) == alone
    assert alone.as_json()["times"] is None
    assert Match() == alone.match


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("explode", "X-Exchange-Fault action"),
        ("drop_frame", "X-Exchange-Fault action"),
        ("latency_ms", "X-Exchange-Fault plan"),
        ("latency_ms;latency_ms=soon", "X-Exchange-Fault latency_ms"),
        ("status_500;when=now", "X-Exchange-Fault"),
    ],
)
def test_a_wrong_header_is_refused(header: str, problem: str) -> None:
    with pytest.raises(WrongPlan) as caught:
        read_header(header)
    assert list(caught.value.problems) == [problem]
    assert read_header("latency_ms; latency_ms=250").latency_ms == 250


def test_plans_are_found_by_name_or_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(load_mix("standard", 2).as_json() | {"name": "mine"}))
    assert (named_plan(str(file)).seed, named_plan(str(file), 8).seed) == (2, 8)
    assert named_plan("standard", 8) == load_mix("standard", 8)
    with pytest.raises(WrongPlan, match=r"no file .*gone.json, and no ready-made plan but standard"):
        named_plan(str(tmp_path / "gone.json"))
    file.write_text('{"name":"mine","faults":[{"action":"boom"}]}')
    with pytest.raises(WrongPlan, match=r"mine.json: faults.0.action: "):
        named_plan(str(file))
    with pytest.raises(WrongPlan, match="none of standard"):
        load_mix("other")


def test_the_process_takes_a_plan_and_a_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launch = launch_from(["--fault-plan", "standard", "--fault-seed", "9"], {})
    assert launch.settings.fault_plan == load_mix("standard", 9)
    assert launch.settings.fault_seed == 9
    assert exchange.main(["--data-dir", str(tmp_path), "--fault-plan", "nowhere"]) == exchange.EXIT_USAGE
    assert capsys.readouterr().err.startswith("exchange: plan: there is no file nowhere")


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    plan = FaultPlan.model_validate(
        {"name": "clocks", "seed": 4, "faults": [
            {"match": {"path": "/v2/clock"}, "action": "status_503", "probability": 1}
        ]}
    )  # fmt: skip
    with start_in_thread(settings(tmp_path_factory.mktemp("exchange"), fault_plan=plan)) as running:
        yield connect(running)


def test_every_injected_fault_is_in_the_ledger_with_its_plan_and_seed(planned: Venue) -> None:
    header = {"X-Exchange-Fault": "status_504_after_landing"}
    assert planned.call("GET", "/v2/clock").status_code == 503
    body = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
    body["client_order_id"] = "by-header"
    assert planned.call("POST", "/v2/orders", json=body, headers=header).status_code == 504
    path = "/v2/orders:by_client_order_id?client_order_id=by-header"
    assert planned.call("GET", path).status_code == 200, "it landed"
    keyless = header | {"APCA-API-SECRET-KEY": "wrong"}
    assert planned.call("GET", "/v2/account", headers=keyless).status_code == 401
    wrong = planned.call("GET", "/v2/account", headers={"X-Exchange-Fault": "explode"})
    assert wrong.status_code == 422
    assert wrong.json()["message"].startswith("X-Exchange-Fault action: ")
    assert planned.call("POST", "/v2/orders", headers={"X-Exchange-Fault": "stale_read"}).status_code == 422
    summary = planned.summary()
    assert summary["faults"] == {"status_503": 1, "status_504_after_landing": 1}
    assert summary["fault_plans"] == {
        "clocks": {"status_503": 1},
        "header": {"status_504_after_landing": 1},
    }
    rows = [json.loads(line) for line in planned.call("GET", "/_exchange/ledger").text.splitlines()]
    told = [(row["fault"], row["fault_plan"], row.get("fault_seed")) for row in rows if row.get("fault")]
    assert told == [("status_503", "clocks", 4), ("status_504_after_landing", "header", None)]


def test_faults_are_ordered_listed_and_cleared_from_the_command_line(
    planned: Venue, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    planned.call("DELETE", "/_exchange/faults")
    keys = {"EXCHANGE_KEY": "TESTKEY", "EXCHANGE_SECRET": "TESTSECRET", "EXCHANGE_URL": planned.running.url}

    def faults(*arguments: str, environment: dict[str, str] = keys) -> tuple[int, str, str]:
        code = exchange_faults.main(arguments, environment)
        return code, *capsys.readouterr()

    file = tmp_path / "plan.json"
    file.write_text('{"name":"mine","faults":[{"action":"drop_frame","match":{"stream":"trade_updates"}}]}')
    assert faults("add", "status_500", "--path", "/v2/acc*", "--times", "null")[0] == 0
    assert faults("add", "--plan", str(file), "--seed", "6")[0] == 0
    code, out, _ = faults("list", "--json")
    rows = json.loads(out)
    assert (code, [row["action"] for row in rows]) == (0, ["status_500", "drop_frame"])
    assert rows[0]["times"] is None
    assert (rows[1]["plan"], rows[1]["seed"]) == ("mine", 6)
    code, out, _ = faults("list")
    assert out.splitlines()[0] == "status_500  on path=/v2/acc*  without end"
    assert planned.call("GET", "/v2/account").status_code == 500
    assert faults("clear", "--plan", "mine")[1].count("\n") == 1
    assert faults("clear") == (0, "nothing is on order\n", "")
    assert planned.call("GET", "/v2/account").status_code == 200
    code, out, error = faults("add", "status_500", "--probability", "2")
    assert (code, out) == (2, "")
    assert error.startswith("exchange faults: probability: ")
    assert faults("add")[0] == faults("add", "status_500", "--seed", "1")[0] == 2
    assert faults("list", environment={})[0] == 2
    assert faults("list", environment=keys | {"EXCHANGE_KEY": "other"})[0] == 1
    assert faults("list", "--url", "http://127.0.0.1:9", environment=keys)[0] == 3


def test_a_wrong_order_over_http_names_its_field(planned: Venue) -> None:
    for body, field in (
        ({"action": "explode"}, "action"),
        ({"name": "a", "faults": [{"action": "status_500", "times": 0}]}, "faults.0.times"),
    ):
        answer = planned.call("POST", "/_exchange/faults", json=body)
        assert answer.status_code == 422
        assert list(answer.json()["problems"]) == [field]
        assert answer.json()["message"].startswith(field)
