"""Live trading: one row of the truth table lets an order leave; a server in the brokerage's place counts them."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import pytest

from broker.alpaca.trader import AlpacaTrader
from broker.permit import LiveNotPermitted
from schemas.clock import ClockHealth
from schemas.live import GrantPerson, KeySource, LiveReason
from schemas.mode import Mode
from schemas.people import STANDING_MIN
from security.live import (
    GRANT_VALID_MAX,
    LiveGrantKey,
    LiveGrantRefused,
    LiveKeyError,
    grant_live,
    may_trade_live,
    sign_grant,
)
from tests.servers.live import (
    ANNA,
    BERT,
    GRANT_KEY,
    IN_SYNC,
    SIGNER,
    STRANGER,
    configuration,
    grant,
    live_settings,
    now,
    person,
    seen,
    setup,
)
from tests.unit.broker_server import ORDER, Server, http, nothing, order_request, serving
from workers.settings import OrdersSettings

D = timedelta
SHIFT: Final = timedelta(hours=8)
AT: Final = now()
"""When what is missing is judged, and what the cases are told from."""
WORDS: Final = (
    "true",
    "",
    "false",
    "True",
    "TRUE",
    " true",
    "true ",
    "1",
    "yes",
    "on",
    "tru",
    "truetrue",
    "тrue",
)
"""Of LIVE_MODE; None: it is not set."""


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        running.always(http(ORDER | {"client_order_id": "ti-1"}))
        yield running


def asked_for(word: str | None, monkeypatch: pytest.MonkeyPatch, name: str = "LIVE_MODE") -> bool:
    """As a process reads it."""
    for each in ("LIVE_MODE", "TRADING_LIVE_MODE"):
        monkeypatch.delenv(each, raising=False)
    if word is not None:
        monkeypatch.setenv(name, word)
    return OrdersSettings(temporal_address="t").live_mode


@pytest.mark.parametrize("name", ["LIVE_MODE", "TRADING_LIVE_MODE", "trading_live_mode"])
@pytest.mark.parametrize("word", [*WORDS, None])
def test_only_the_very_word_asks_for_live_and_nothing_is_an_error(
    word: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked_for(word, monkeypatch, name) is (word == "true")


@pytest.mark.parametrize(
    ("one", "other"), [("true", "false"), ("false", "true"), ("true", "x"), ("1", "true")]
)
def test_two_words_that_disagree_are_paper(one: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVE_MODE", one)
    monkeypatch.setenv("TRADING_LIVE_MODE", other)
    assert not OrdersSettings(temporal_address="t").live_mode


class Row(NamedTuple):
    """One line of the truth table; the first value of each is the one that is needed."""

    word: str | None
    fresh_mfa: bool
    admin: bool
    second_person: bool
    keys: KeySource
    url: str
    killed: bool
    clock: ClockHealth
    sealed: bool
    both_stand: bool


OFF: Final = ClockHealth(in_sync=False, age=D(seconds=20))
ABSENT: Final = ClockHealth(in_sync=False)
OLD: Final = ClockHealth(in_sync=True, age=D(minutes=11))
GOOD: Final = Row("true", True, True, True, KeySource.VAULT, "live", False, IN_SYNC, True, True)


def table() -> Iterator[Row]:
    yield from map(
        Row._make,
        itertools.product(
            ("true", "True", "1", None), (True, False), (True, False), (True, False),
            (KeySource.VAULT, KeySource.EMBEDDED), ("live", "paper"), (False, True), (IN_SYNC, OFF, ABSENT, OLD),
            (True, False), (True, False),
        ),
    )  # fmt: skip


async def test_one_row_of_the_table_lets_an_order_leave(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: whatever a row says is put together as the product does it, and an order is really sent. Two servers
    count what arrives: one stands in for the live brokerage, one is a paper exchange."""
    words = {word: asked_for(word, monkeypatch) for word in ("true", "True", "1", None)}
    async with serving() as paper:
        paper.always(http(ORDER | {"client_order_id": "ti-1"}))
        live_trader = AlpacaTrader(live_settings(server))
        paper_trader = AlpacaTrader(paper.settings)
        left: list[Row] = []
        papers = rows = 0
        for row in table():
            rows += 1
            before, before_paper = len(server.requests), len(paper.requests)
            trader, url = (live_trader, server.url) if row.url == "live" else (paper_trader, paper.url)
            decision = decided(row, url, words)
            assert (decision.permit is None) is bool(decision.reasons)
            with suppress(LiveNotPermitted):
                await trader.place_order(order_request(), before_send=nothing, permit=decision.permit)
            if len(server.requests) > before:
                left.append(row)
            papers += len(paper.requests) - before_paper
        assert rows == 4 * 2**8 * 4
        assert left == [GOOD]
        assert papers == rows / 2, "on paper nobody asks"
        assert [each.method for each in server.requests] == ["POST"]
        await live_trader.close()
        await paper_trader.close()


def decided(row: Row, url: str, words: dict[str | None, bool]) -> Any:
    at = now()
    given = at - D(minutes=2)
    mfa = D(minutes=1) if row.fresh_mfa else D(minutes=6)
    second = BERT if row.second_person else ANNA
    config = configuration(url, key_source=row.keys)
    signed = sign_grant(SIGNER,
        grant(
            at, config.hash,
            asked=person(ANNA, given - D(minutes=3)),
            agreed=person(
                second, given, mfa_age=mfa, role="admin" if row.admin else "risk",
                stands=STANDING_MIN - D(seconds=0 if row.both_stand else 1),
            ),
        )
    )  # fmt: skip
    mode = Mode.LIVE if row.url == "live" else Mode.PAPER
    made = setup(
        url, config.hash, asked_for=words[row.word], key_source=row.keys, mode=mode, sealed=row.sealed
    )
    return may_trade_live(made, seen(signed, kill=row.killed, clock=row.clock), GRANT_KEY, at)


def reasons(
    *,
    made: dict[str, Any] | None = None,
    key: LiveGrantKey | None = GRANT_KEY,
    kill: bool = False,
    clock: ClockHealth = IN_SYNC,
    signer: Any = SIGNER,
    **fields: Any,
) -> tuple[LiveReason, ...]:
    at, config = AT, configuration("u")
    signed = sign_grant(signer, grant(at, config.hash, **fields))
    shown = seen(signed, kill=kill, clock=clock)
    return may_trade_live(setup("u", config.hash, **(made or {})), shown, key, at).reasons


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({}, ()),
        ({"made": {"asked_for": False}}, (LiveReason.NOT_ASKED_FOR,)),
        ({"made": {"isolated": False}}, (LiveReason.NOT_ISOLATED,)),
        ({"made": {"mode": Mode.PAPER}}, (LiveReason.NOT_LIVE_HOST,)),
        ({"made": {"key_source": KeySource.EMBEDDED}}, (LiveReason.KEYS_NOT_FROM_STORE,)),
        ({"made": {"key_source": KeySource.AWS}}, ()),
        ({"made": {"sealed": False}}, (LiveReason.PAYLOADS_PLAIN,)),
        ({"made": {"account": "A2"}}, (LiveReason.GRANT_OF_ANOTHER,)),
        ({"made": {"installation": UUID(int=8)}}, (LiveReason.GRANT_OF_ANOTHER,)),
        ({"made": {"configuration_hash": "0" * 64}}, (LiveReason.GRANT_OF_OTHER_CONFIGURATION,)),
        ({"signer": STRANGER}, (LiveReason.GRANT_FORGED,)),
        ({"key": None}, (LiveReason.GRANT_FORGED,)),
        ({"kill": True}, (LiveReason.KILL_SWITCH,)),
        ({"clock": OFF}, (LiveReason.CLOCK_OFF,)),
        ({"clock": ABSENT}, (LiveReason.CLOCK_UNKNOWN, LiveReason.CLOCK_OFF)),
        ({"clock": OLD}, (LiveReason.CLOCK_UNKNOWN,)),
        ({"expires_at": AT - D(seconds=1)}, (LiveReason.GRANT_EXPIRED,)),
        ({"expires_at": AT + GRANT_VALID_MAX}, (LiveReason.GRANT_TOO_LONG,)),
        ({"given_at": AT - D(days=9)}, (LiveReason.GRANT_TOO_LONG, LiveReason.MFA_NOT_FRESH)),
        ({"asked": person(ANNA, AT - D(minutes=18))}, (LiveReason.MFA_NOT_FRESH,)),
        ({"asked": person(ANNA, AT)}, (LiveReason.MFA_NOT_FRESH,)),
        ({"agreed": person(BERT, AT - D(minutes=8))}, (LiveReason.MFA_NOT_FRESH,)),
        ({"asked": person(ANNA, AT - D(minutes=5), mfa_age=D(minutes=6))}, (LiveReason.MFA_NOT_FRESH,)),
        ({"asked": person(ANNA, AT - D(minutes=5), mfa_age=D(seconds=-1))}, (LiveReason.MFA_NOT_FRESH,)),
        ({"asked": person(ANNA, AT - D(minutes=5), role="risk")}, (LiveReason.NOT_ADMIN,)),
        ({"asked": person(ANNA, AT - D(minutes=5), role="Admin")}, (LiveReason.NOT_ADMIN,)),
        ({"asked": person(BERT, AT - D(minutes=5))}, (LiveReason.ONE_PERSON,)),
        ({"asked": person(ANNA, AT - D(minutes=5), stands=D(hours=23))}, (LiveReason.PERSON_TOO_NEW,)),
        ({"agreed": person(BERT, AT - D(minutes=2), stands=D(hours=23))}, (LiveReason.PERSON_TOO_NEW,)),
        ({"asked": person(ANNA, AT - D(minutes=5), stands=None)}, (LiveReason.PERSON_TOO_NEW,)),
        ({"asked": person(ANNA, AT - D(minutes=5), stands=D(hours=-1))}, (LiveReason.PERSON_TOO_NEW,)),
    ],
)  # fmt: skip
def test_each_thing_that_is_missing_is_named(told: dict[str, Any], wanted: tuple[LiveReason, ...]) -> None:
    assert reasons(**told) == wanted


def test_no_grant_a_revoked_one_and_one_from_the_future() -> None:
    at, config = now(), configuration("u")
    made = setup("u", config.hash)
    assert may_trade_live(made, seen(None), GRANT_KEY, at).reasons == (LiveReason.NO_GRANT,)
    signed = sign_grant(SIGNER, grant(at, config.hash)).model_copy(update={"revoked_at": at})
    assert may_trade_live(made, seen(signed), GRANT_KEY, at).reasons == (LiveReason.GRANT_REVOKED,)
    early = sign_grant(SIGNER, grant(at + D(minutes=5), config.hash))
    assert may_trade_live(made, seen(early), GRANT_KEY, at).reasons == (LiveReason.GRANT_NOT_YET,)


def test_no_character_of_a_grant_can_be_changed() -> None:
    """And none under another name, or with more in it, or signed for something else."""
    at, config = now(), configuration("u")
    made, signed = setup("u", config.hash), sign_grant(SIGNER, grant(at, config.hash))
    assert may_trade_live(made, seen(signed), GRANT_KEY, at).permit is not None
    changed = [
        {"document": signed.document[:place] + ("0" if each != "0" else "1") + signed.document[place + 1 :]}
        for place, each in enumerate(signed.document)
    ]
    changed += [
        {"signature": ""}, {"signature": "zz"}, {"signature": signed.signature[:-2] + "ff"},
        {"grant_id": UUID(int=9)}, {"document": ""}, {"document": "{}"},
    ]  # fmt: skip
    for update in changed:
        decision = may_trade_live(made, seen(signed.model_copy(update=update)), GRANT_KEY, at)
        assert decision.permit is None
        assert decision.reasons == (LiveReason.GRANT_FORGED,)
    unsigned = SIGNER.sign(signed.document.encode())
    other = signed.model_copy(update={"signature": unsigned})
    assert may_trade_live(made, seen(other), GRANT_KEY, at).reasons == (LiveReason.GRANT_FORGED,)


def test_a_grant_is_made_for_two_admins_with_fresh_factors_alone() -> None:
    at, config = now(), configuration("u")

    def give(
        asked: GrantPerson, agreed: GrantPerson, *, reason: str = "r", valid_for: timedelta = SHIFT
    ) -> Any:
        return grant_live(
            SIGNER, config, asked=asked, agreed=agreed, reason=reason, valid_for=valid_for, now=at
        )

    anna, bert = person(ANNA, at - D(minutes=3)), person(BERT, at)
    signed = give(anna, bert)
    made = setup("u", config.hash)
    assert may_trade_live(made, seen(signed), GRANT_KEY, at).permit is not None
    for arguments, options in (
        ((anna, person(ANNA, at)), {}),
        ((anna, person(BERT, at, role="risk")), {}),
        ((anna, person(BERT, at, stands=D(hours=23))), {}),
        ((person(ANNA, at - D(minutes=3), stands=D(hours=23)), bert), {}),
        ((person(ANNA, at, role="operator"), bert), {}),
        ((person(ANNA, at - D(minutes=3), mfa_age=D(minutes=9)), bert), {}),
        ((anna, person(BERT, at, mfa_age=D(minutes=6))), {}),
        ((person(ANNA, at - D(minutes=16)), bert), {}),
        ((anna, bert), {"valid_for": D(hours=25)}),
        ((anna, bert), {"valid_for": D(0)}),
        ((anna, bert), {"reason": " "}),
    ):
        with pytest.raises(LiveGrantRefused):
            give(*arguments, **options)


@pytest.mark.parametrize("text", ["", "x", "ab" * 31, "ab" * 33])
def test_a_key_that_is_none_names_its_setting_and_no_value(text: str) -> None:
    with pytest.raises(LiveKeyError, match="TRADING_CONSOLE_GRANT_PUBLIC_KEY is not") as refused:
        LiveGrantKey.from_hex(text)
    assert len(text) < 2 or text not in str(refused.value)
