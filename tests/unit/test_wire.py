"""Names and ids that other processes, histories and the broker hold: a change here breaks what runs."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import wire
from schemas.wire import CLIENT_ORDER_ID_PREFIX, Leg, Topic, client_order_id, event_id, order_workflow_id

INSTALLATION = uuid.UUID("6f1d2a34-5b6c-4d7e-8f90-a1b2c3d4e5f6")
ALPACA_CLIENT_ORDER_ID_MAX = 128
SEPARATOR_FREE = st.text(st.characters(exclude_characters="\x1f", exclude_categories=["Cs"]), max_size=64)

GOLDEN_ORDER_IDS = [
    ("926411782", "sig_112", Leg.ENTRY, 0, "ti-00e7fe2ee14a578888d34b5c1360f58b"),
    ("926411782", "sig_112", Leg.ENTRY, 1, "ti-b6fb85df28bd56d4b7b661cb232e6817"),
    ("926411782", "sig_112", Leg.STOP, 0, "ti-5033a60e522f5ee08243db0847de1d36"),
    ("926411782", "sig_112", Leg.EXIT, 0, "ti-edf693b1c60d56cca726d4d61d49edf4"),
    ("926411783", "sig_112", Leg.ENTRY, 0, "ti-d656fc999c2b5dc3b37309a753cbe1b8"),
]


@pytest.mark.parametrize(("account", "signal_id", "leg", "generation", "expected"), GOLDEN_ORDER_IDS)
def test_client_order_ids_never_change_over_releases(
    account: str, signal_id: str, leg: Leg, generation: int, expected: str
) -> None:
    """An order in flight during a release is looked up by the id the old release gave it.

    If this is red, the new code would place that order a second time: take the change back.
    """
    assert client_order_id(INSTALLATION, account, signal_id, leg, generation) == expected


def test_another_installation_gives_another_id() -> None:
    other = uuid.UUID("00000000-0000-4000-8000-000000000000")
    account, signal_id, leg, generation, expected = GOLDEN_ORDER_IDS[0]
    assert client_order_id(other, account, signal_id, leg, generation) != expected


@given(
    account=SEPARATOR_FREE,
    signal_id=SEPARATOR_FREE,
    leg=st.sampled_from(Leg),
    generation=st.integers(0, 10**6),
)
def test_every_client_order_id_fits_the_broker(
    account: str, signal_id: str, leg: Leg, generation: int
) -> None:
    made = client_order_id(INSTALLATION, account, signal_id, leg, generation)
    assert re.fullmatch(r"ti-[0-9a-f]{32}", made)
    assert len(made) == 35 <= ALPACA_CLIENT_ORDER_ID_MAX
    assert made.startswith(CLIENT_ORDER_ID_PREFIX)
    assert made == client_order_id(INSTALLATION, account, signal_id, leg, generation)


IDENTITIES = st.tuples(SEPARATOR_FREE, SEPARATOR_FREE, st.sampled_from(Leg), st.integers(0, 1000))


@given(one=IDENTITIES, other=IDENTITIES)
def test_two_orders_share_an_id_only_if_they_are_one(
    one: tuple[str, str, Leg, int], other: tuple[str, str, Leg, int]
) -> None:
    same = client_order_id(INSTALLATION, *one) == client_order_id(INSTALLATION, *other)
    assert same == (one == other)


def test_neighbouring_fields_do_not_run_together() -> None:
    """Account "12" with signal "3" is not account "1" with signal "23"."""
    first = client_order_id(INSTALLATION, "12", "3", Leg.ENTRY, 0)
    second = client_order_id(INSTALLATION, "1", "23", Leg.ENTRY, 0)
    assert first != second


@pytest.mark.parametrize(
    ("topic", "parts", "expected"),
    [
        (Topic.SIGNAL_CREATED, ("sig_112",), "evt_70a151542bba54d29c037801f63a571c"),
        (Topic.EXECUTION_FILL, ("ti-x", 1), "evt_32b216b1789655d6a6bc3b8bbe23f887"),
    ],
)
def test_event_ids_never_change_over_releases(topic: Topic, parts: tuple[object, ...], expected: str) -> None:
    """A retry by the new release must hit the unique row that the old one wrote."""
    assert event_id(topic, *parts) == expected


def test_event_ids_differ_by_topic_and_part() -> None:
    made = [
        event_id(Topic.EXECUTION_FILL, "ti-x", 1),
        event_id(Topic.EXECUTION_FILL, "ti-x", 2),
        event_id(Topic.EXECUTION_FILL, "ti-x", "1", ""),
        event_id(Topic.EXECUTION_FILL, "ti-x1"),
        event_id(Topic.EXECUTION_STATUS, "ti-x", 1),
    ]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"evt_[0-9a-f]{32}", each) for each in made)


def test_workflow_id_of_an_order() -> None:
    assert order_workflow_id("sig_112") == "order-sig_112"


def test_the_specified_topics() -> None:
    assert {topic.value for topic in Topic} >= {
        "trading.signal.created",
        "trading.risk.approved",
        "trading.risk.rejected",
        "trading.execution.submitted",
        "trading.execution.fill",
        "system.killswitch.activated",
    }


@pytest.mark.parametrize("kind", ["ACTIVITY_", "WORKFLOW_", "SIGNAL_", "UPDATE_", "QUERY_", "ID_"])
def test_names_of_one_kind_are_distinct_and_plain(kind: str) -> None:
    """Two activities of one name on one worker would shadow each other."""
    names = [value for key, value in vars(wire).items() if key.startswith(kind)]
    assert names
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in names)


def test_the_operator_s_commands_are_documented_under_these_names() -> None:
    """They stand in runbooks: ``temporal workflow signal --workflow-id kill-switch --name activate``."""
    assert (wire.ID_KILL_SWITCH, wire.SIGNAL_KILL, wire.SIGNAL_RELEASE) == (
        "kill-switch",
        "activate",
        "release",
    )
    assert wire.NAMESPACE == "trading"
