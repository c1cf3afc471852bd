"""The vendor map: each known answer has its class, and every possible answer has exactly one."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import errors
from broker.alpaca.cancels import answer_of, answers_of_all
from broker.alpaca.errors import RETRY_AFTER_MAX_SECONDS, Answer, Kind, UnreadableError, classify, read_json
from broker.errors import BrokerError
from schemas.orders import CancelAnswer

E = errors
PLACE, CANCEL, READ = Kind.PLACE, Kind.CANCEL, Kind.READ


def answer(status: int, body: object, **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, content, {name.replace("_", "-"): value for name, value in headers.items()})


def coded(code: object, message: str, **extra: str) -> dict[str, object]:
    return {"code": code, "message": message, **extra}


WASH = "potential wash trade detected. use complex orders"
KNOWN: list[tuple[Kind, int, object, type[BrokerError]]] = [
    (PLACE, 401, {"message": "unauthorized."}, E.Unauthorized),
    (PLACE, 401, b"<html>401 Authorization Required</html>", E.Unauthorized),
    (PLACE, 403, {"message": "forbidden."}, E.Unauthorized),
    (PLACE, 403, coded(40310000, "insufficient buying power"), E.InsufficientFunds),
    (
        PLACE,
        403,
        coded(40310000, "insufficient qty available for order (requested: 100, available: 0)"),
        E.SharesHeld,
    ),
    (PLACE, 403, coded(40310000, WASH, reject_reason="opposite side limit order exists"), E.WashTrade),
    (PLACE, 422, coded(42210000, WASH), E.WashTrade),
    (PLACE, 403, coded(40310000, "cannot open a long buy while a short sell order is open"), E.WashTrade),
    (PLACE, 403, coded(40310000, 'asset "BRK" is not fractionable'), E.ValidationRefused),
    (PLACE, 403, coded(40310000, "account is not allowed to short"), E.Forbidden),
    (PLACE, 403, coded(40310000, "new orders are rejected by user request"), E.Forbidden),
    (PLACE, 403, coded(40310000, "account is not authorized to trade"), E.Forbidden),
    (PLACE, 403, coded(40310100, "trade denied due to pattern day trading protection"), E.Forbidden),
    (
        PLACE,
        403,
        coded(40310000, "opg orders must be submitted after 7:00pm and before 9:28am"),
        E.MarketClosed,
    ),
    (
        PLACE,
        403,
        coded(40310000, "cls orders must be submitted after 7:00pm and before 3:50pm"),
        E.MarketClosed,
    ),
    (PLACE, 422, coded(40010001, "client_order_id must be unique"), E.DuplicateOrder),
    (PLACE, 422, coded(42210000, "client_order_id must be unique"), E.DuplicateOrder),
    (PLACE, 422, {"message": "client_order_id must be unique"}, E.DuplicateOrder),
    (PLACE, 422, coded(40010001, "qty must be > 0"), E.ValidationRefused),
    (PLACE, 422, coded(40010001, "limit orders require a limit price"), E.ValidationRefused),
    (PLACE, 422, coded(40010001, "invalid time_in_force"), E.ValidationRefused),
    (PLACE, 422, coded(40010001, "client_order_id must be no more than 128 characters"), E.ValidationRefused),
    (PLACE, 400, coded(40010000, "request body format is invalid"), E.ValidationRefused),
    (
        PLACE,
        422,
        coded(
            42210000,
            "invalid limit_price 290.123. sub-penny increment does not fulfill minimum pricing criteria",
        ),
        E.ValidationRefused,
    ),
    (
        PLACE,
        422,
        coded(42210000, "position intent mismatch, inferred: buy_to_close, specified: buy_to_open"),
        E.ValidationRefused,
    ),
    (PLACE, 422, coded(42210000, 'asset "ZZZZ" not found'), E.InvalidTicker),
    (PLACE, 404, coded(40410000, "asset not found for ZZZZ"), E.InvalidTicker),
    (PLACE, 422, coded(40010001, 'could not find us_equity asset "ZZZZ"'), E.InvalidTicker),
    (PLACE, 422, coded(42210000, 'asset "X" is not tradable'), E.InvalidTicker),
    (PLACE, 422, coded(40010001, "asset X is not active"), E.InvalidTicker),
    (PLACE, 422, coded(42210000, 'asset "X" cannot be sold short'), E.Forbidden),
    (
        PLACE,
        422,
        coded(42210000, "extended hours order must be DAY or GTC limit orders"),
        E.ValidationRefused,
    ),
    (PLACE, 422, coded(42210000, "fractional orders must be DAY orders"), E.ValidationRefused),
    (PLACE, 422, coded(42210000, "stop price must be less than current price"), E.StopThroughMarket),
    (PLACE, 422, coded("42210000", "a code in quotes"), E.ValidationRefused),
    (PLACE, 422, {"message": "no code at all"}, E.UnknownOutcome),
    (PLACE, 422, b"<html>422</html>", E.UnknownOutcome),
    (PLACE, 403, b"<html>blocked by a proxy</html>", E.UnknownOutcome),
    (PLACE, 403, coded(50010000, "internal server error occurred"), E.UnknownOutcome),
    (PLACE, 404, coded(40410000, "endpoint not found"), E.UnknownOutcome),
    (PLACE, 404, coded(40410000, "order not found"), E.UnknownOutcome),
    (PLACE, 408, coded(40810000, "request timeout"), E.UnknownOutcome),
    (PLACE, 429, coded(42910000, "rate limit exceeded"), E.RateLimited),
    (PLACE, 429, {"message": "too many requests."}, E.RateLimited),
    (PLACE, 429, b"", E.RateLimited),
    (PLACE, 500, coded(50010000, "internal server error occurred"), E.UnknownOutcome),
    (PLACE, 500, coded(40310000, "insufficient buying power"), E.UnknownOutcome),
    (PLACE, 502, b"<html>502 Bad Gateway</html>", E.UnknownOutcome),
    (PLACE, 503, b"", E.UnknownOutcome),
    (PLACE, 504, b"", E.UnknownOutcome),
    (PLACE, 302, b"", E.UnknownOutcome),
    (CANCEL, 404, coded(40410000, "order not found for 1"), E.NotFound),
    (CANCEL, 422, coded(42210000, 'order is already in "filled" state'), E.NotCancelable),
    (CANCEL, 404, coded(40410000, "endpoint not found: DELETE /v3"), E.UnknownOutcome),
    (CANCEL, 404, b"<html>", E.UnknownOutcome),
    (CANCEL, 504, b"", E.UnknownOutcome),
    (READ, 404, coded(40410000, "order not found for ti-1"), E.NotFound),
    (READ, 404, coded(40410000, "position does not exist"), E.NotFound),
    (READ, 404, coded(40410000, "asset not found for ZZZZ"), E.NotFound),
    (READ, 404, coded(40410000, "endpoint not found"), E.NetworkError),
    (READ, 404, {"message": "Not Found"}, E.NetworkError),
    (READ, 404, b"<html>404</html>", E.NetworkError),
    (READ, 500, coded(50010000, "internal server error occurred"), E.NetworkError),
    (READ, 502, b"<html>", E.NetworkError),
    (READ, 301, b"", E.NetworkError),
    (READ, 401, b"", E.Unauthorized),
    (READ, 422, coded(40010001, "order_id is missing"), E.ValidationRefused),
]


@pytest.mark.parametrize(("kind", "status", "body", "expected"), KNOWN)
def test_known_answers(kind: Kind, status: int, body: object, expected: type[BrokerError]) -> None:
    error = classify(kind, answer(status, body, X_Request_ID="req-1"))
    assert type(error) is expected
    assert (error.http_status, error.request_id) == (status, "req-1")


STATUSES = [*range(100, 200, 33), *range(300, 600)]
CODES: list[object] = [None, 40010000, 40010001, 40310000, 40310100, 40410000, 42210000, 42910000, 50010000,
                       40110000, 12345678, "40310000", 1, True, -40310000, 4.03, [], "x"]  # fmt: skip
TEXTS: list[object] = [
    None, "", 7, ["insufficient buying power"], "something new",
    *{str(body["message"]) for _, _, body, _ in KNOWN if isinstance(body, dict)},
]  # fmt: skip
BODIES = [
    *(json.dumps({"code": code, "message": text}).encode() for code in CODES for text in TEXTS),
    b"", b"<html></html>", b"null", b"[]", b'"text"', b"{", b"\xff\xfe", b"NaN", b"[" * 100_000,
    b'{"code": 1e99999999999999999999}',
]  # fmt: skip
REFUSALS = {cls for cls in vars(errors).values() if isinstance(cls, type) and getattr(cls, "refusal", False)}


def assert_lawful(kind: Kind, told: Answer) -> None:
    """What must hold whatever the broker says."""
    error = classify(kind, told)
    family = (BrokerError, errors.NetworkError, errors.Forbidden, errors.ValidationRefused)
    assert type(error).__mro__[1] in family
    assert type(error) is not errors.NothingSent, "an answer is proof that something was sent"
    assert not (kind is READ and isinstance(error, errors.UnknownOutcome | errors.DuplicateOrder))
    assert not (kind is not READ and isinstance(error, errors.NetworkError))
    if kind is PLACE:
        assert not isinstance(error, errors.NotFound)
    if type(error) in REFUSALS:
        body = read_json(told.body)
        assert 400 <= told.status < 500
        assert len(str(body["code"])) == 8
        assert str(body["code"]).startswith(("400", "403", "404", "422"))
    if told.status >= 500 or told.status < 400:
        assert type(error) in (errors.UnknownOutcome, errors.NetworkError)


@pytest.mark.parametrize("kind", Kind)
def test_every_status_code_and_text_has_exactly_one_class(kind: Kind) -> None:
    """Every text and code at every status that a table entry names, and every status with every odd body."""
    named = [400, 401, 403, 404, 408, 422, 429, 499, 500, 302]
    for status, body in itertools.product(named, BODIES):
        assert_lawful(kind, Answer(status, body, {}))
    for status, body in itertools.product(STATUSES, BODIES[:: len(TEXTS)]):
        assert_lawful(kind, Answer(status, body, {}))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(Kind),
    st.integers(100, 199) | st.integers(300, 999),
    st.binary(max_size=60) | st.builds(lambda body: json.dumps(body).encode(), _json),
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_at_all_have_a_class(kind: Kind, status: int, body: bytes) -> None:
    assert_lawful(kind, Answer(status, body, {}))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry_After": "3"}, 3),
        ({"Retry_After": "86400"}, RETRY_AFTER_MAX_SECONDS),
        ({"Retry_After": "soon"}, None),
        ({"X_RateLimit_Reset": "1795446920", "Date": "Mon, 23 Nov 2026 15:15:00 GMT"}, 20),
        ({"X_RateLimit_Reset": "1795446000", "Date": "Mon, 23 Nov 2026 15:15:00 GMT"}, 0),
        ({"X_RateLimit_Reset": "1795446920"}, None),
        ({"X_RateLimit_Reset": "1795446920", "Date": "yesterday"}, None),
    ],
)
def test_wait_after_a_rate_limit_is_by_the_brokers_own_clock(
    headers: dict[str, str], seconds: float | None
) -> None:
    error = classify(READ, answer(429, b"", **headers))
    assert isinstance(error, errors.RateLimited)
    assert error.retry_after_seconds == seconds


def test_message_is_bounded() -> None:
    error = classify(PLACE, answer(422, coded(42210000, "x" * 100_000)))
    assert len(error.message) < 400


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, coded(40410000, "order not found"), CancelAnswer.UNKNOWN_ORDER),
        (422, coded(42210000, 'order is already in "filled" state'), CancelAnswer.TOO_LATE),
        (422, coded(42210000, 'order is already in "canceled" state'), CancelAnswer.TOO_LATE),
        (422, coded(42210000, 'order is already in "pending_cancel" state'), CancelAnswer.REQUESTED),
        (503, b"", CancelAnswer.UNKNOWN_OUTCOME),
    ],
)
def test_answers_to_a_cancel(status: int, body: object, expected: CancelAnswer) -> None:
    assert answer_of(classify(CANCEL, answer(status, body))) is expected


def test_order_that_lives_and_cannot_be_cancelled_now_is_not_too_late() -> None:
    error = classify(CANCEL, answer(422, coded(42210000, 'order is already in "pending_replace" state')))
    with pytest.raises(errors.NotCancelable):
        answer_of(error)


def test_answers_to_cancel_all() -> None:
    told = [
        {"id": "a", "status": 200},
        {"id": "b", "status": 422, "body": coded(42210000, 'order is already in "filled" state')},
        {"id": "c", "status": 500},
        {"id": "d", "status": 404, "body": coded(40410000, "order not found")},
        {"id": "e", "status": 422, "body": coded(42210000, 'order is already in "pending_replace" state')},
    ]
    assert answers_of_all(told) == {
        "a": CancelAnswer.REQUESTED,
        "b": CancelAnswer.TOO_LATE,
        "c": CancelAnswer.UNKNOWN_OUTCOME,
        "d": CancelAnswer.UNKNOWN_ORDER,
        "e": CancelAnswer.UNKNOWN_OUTCOME,
    }
    for broken in (None, {}, [{"id": "a"}], [{"status": 200}], [7]):
        with pytest.raises(UnreadableError):
            answers_of_all(broken)


def test_a_refusal_with_characters_that_no_database_takes_is_one_that_can_be_stored() -> None:
    said = 'asset "ZZ\x00\ud800" not found'
    told = answer(422, coded(42210000, said, reject_reason="\x00\udfff"), X_Request_ID="req\x00")
    error = classify(PLACE, told)
    assert type(error) is errors.InvalidTicker
    assert error.message == '422: asset "ZZ ?" not found'
    assert error.request_id == "req "
