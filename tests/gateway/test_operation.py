"""Health, readiness, metrics, headers, and an OpenAPI document that tells the truth."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.documents import SIGNAL_EXAMPLES
from gateway.problems import Code, Problem
from schemas.signals import SignalIn
from storage.switches import bind_installation
from tests.gateway.conftest import Gateway, bearer, signal


async def test_ready_when_everything_answers(gateway: Gateway) -> None:
    answer = await gateway.http.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    assert answer.json()["checks"] == dict.fromkeys(
        ("clock", "database", "schema", "limits", "temporal"), "ok"
    )


async def test_not_ready_without_temporal(gateway: Gateway) -> None:
    gateway.starter.down = True
    answer = await gateway.http.get("/readyz")
    assert answer.status_code == 503
    assert "refused" in answer.json()["checks"]["temporal"]


async def test_not_ready_without_limits(gateway: Gateway) -> None:
    async with gateway.database.connection() as connection:
        await connection.execute("delete from limits")
    answer = await gateway.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["limits"].startswith("no limits are set")


async def test_not_ready_on_another_schema(gateway: Gateway) -> None:
    async with gateway.database.connection() as connection:
        await connection.execute("delete from schema_migrations where version = '0001'")
    answer = await gateway.http.get("/readyz")
    assert answer.status_code == 503
    assert "trading migrate" in answer.json()["checks"]["schema"]


async def test_not_ready_without_the_database_yet_alive(gateway: Gateway) -> None:
    await gateway.database.close()
    answer = await gateway.http.get("/readyz")
    assert answer.status_code == 503
    assert "does not answer" in answer.json()["checks"]["database"]
    assert (await gateway.http.get("/healthz")).json() == {"status": "alive", "mode": "unknown"}


async def test_the_mode_is_what_the_database_is_bound_to(gateway: Gateway) -> None:
    assert (await gateway.http.get("/healthz")).json()["mode"] == "unknown"
    async with gateway.database.transaction("test") as connection:
        await bind_installation(connection, account="A1", mode="paper", now=datetime.now(UTC))
    assert (await gateway.http.get("/healthz")).json()["mode"] == "paper"


async def test_metrics_are_what_the_process_renders(gateway: Gateway) -> None:
    answer = await gateway.http.get("/metrics")
    assert answer.text == "up 1\n"
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, Code.NOT_FOUND), ("DELETE", "/v1/signals", 405, Code.METHOD_NOT_ALLOWED),
     ("GET", "/docs", 404, Code.NOT_FOUND)],
)  # fmt: skip
async def test_every_refusal_has_the_one_shape(
    gateway: Gateway, method: str, path: str, status: int, code: Code
) -> None:
    answer = await gateway.http.request(method, path)
    assert answer.status_code == status
    assert Problem.model_validate(answer.json()).error.code is code


async def test_an_unexpected_fault_is_told_without_its_text(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> bytes:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(gateway.deps), "render_metrics", property(lambda _: broken), raising=False)
    answer = await gateway.http.get("/metrics")
    assert answer.status_code == 500
    assert Problem.model_validate(answer.json()).error.code is Code.INTERNAL
    assert "secret" not in answer.text


async def test_every_answer_carries_the_security_headers(gateway: Gateway) -> None:
    for path in ("/healthz", "/nowhere", "/v1/signals", "/openapi.json"):
        answer = await gateway.http.get(path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


def references(node: Any) -> set[str]:
    """Every ``$ref`` below ``node``."""
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(references(value) for value in node))
    return set()


async def test_openapi_has_no_dangling_reference(gateway: Gateway) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    found = references(document)
    assert "#/components/schemas/SignalIn" in found
    for reference in found:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    assert document["components"]["schemas"]["SignalIn"]["additionalProperties"] is False


async def test_openapi_documents_one_error_shape_only(gateway: Gateway) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, described in operation["responses"].items():
                if int(status) >= 400 and path != "/readyz":
                    content = described["content"]["application/json"]
                    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                    if "example" in content:
                        Problem.model_validate(content["example"])


async def test_openapi_examples_are_signals_that_pass(gateway: Gateway) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    body = document["paths"]["/v1/signals"]["post"]["requestBody"]["content"]["application/json"]
    assert body["examples"].keys() == SIGNAL_EXAMPLES.keys()
    signals = [SignalIn.model_validate(each["value"]) for each in body["examples"].values()]
    assert len({each.order_type for each in signals}) > 1
    now = datetime.now(UTC).isoformat()
    for number, each in enumerate(body["examples"].values()):
        sent = each["value"] | {"signal_id": f"example-{number}", "strategy": "momentum", "created_at": now}
        sent.pop("valid_until", None)
        answer = await gateway.submit(sent)
        assert answer.status_code == 202, answer.text


async def test_openapi_names_every_status_that_submit_can_answer(gateway: Gateway) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    documented = set(document["paths"]["/v1/signals"]["post"]["responses"])
    seen = {
        (await gateway.submit(signal())).status_code,
        (await gateway.submit(signal(quantity="11"))).status_code,
        (await gateway.submit(signal("other", strategy="carry"))).status_code,
        (await gateway.submit(signal(), token="wrong")).status_code,
        (await gateway.submit(signal(quantity="-1"))).status_code,
        (await gateway.http.post("/v1/signals", content=b" " * 70_000, headers=bearer())).status_code,
        (await gateway.http.post(
            "/v1/signals", content=b" " * 70_000, headers=bearer() | {"Content-Type": "application/json"}
        )).status_code,
    }  # fmt: skip
    assert seen == {202, 409, 403, 401, 422, 415, 413}
    assert {str(status) for status in seen} <= documented
