"""docs/API.md, written from the OpenAPI documents: ``python -m workers.api_docs [FILE]``."""

import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from console.web.app import build_console
from gateway.app import build_app
from gateway.problems import Code
from schemas.events import PAYLOADS
from workers.doc_pages import one_line, table, write_page

FILE: Final = Path(__file__).parents[1] / "docs" / "API.md"
TAGS: Final = ("signals", "orders", "events", "broker", "operation")
OF_THE_CONSOLE: Final = ("/live/events", "/healthz", "/readyz", "/metrics")
"""What machines ask the console; its other routes are pages for people."""
NAMED: Final = {"signal_id": "momentum-001", "order_id": "momentum-001"}
"""What stands in an example for a part of a path."""
SIGNED: Final = "X-Broker-Signature"

_HEAD: Final = """\
# The HTTP API

Made from the OpenAPI documents by `make docs`; a test compares them. Edit the routes and models, not this page. A
running gateway serves the same document at `/openapi.json`.

{description}
## Who may ask

A strategy's token: `Authorization: Bearer TOKEN`. It is made by `trading token make NAME --strategy STRATEGY` and
shown once; it opens its own signals, their orders and events, and nothing else. Of the routes without one
`/v1/broker/wake` takes the broker's signature, and the last three are for probes and Prometheus.

In the examples `$GATEWAY` is the address that `trading up` prints (in containers `http://127.0.0.1:8080`),
`$TOKEN` a token, `$SECRET` what the broker's webhook shares with the gateway.
"""


def document() -> str:
    """The whole page."""
    api = gateway_document()
    parts = [_HEAD.format(description=api["info"]["description"])]
    for tag in TAGS:
        parts.append(f"\n## {tag.capitalize()}\n")
        parts += (_route(*each) for each in routes(api) if tag in each[2]["tags"])
    parts += [
        "\n## Models\n\nDecimals are strings, times RFC 3339 in UTC. A field without `?` is always there.\n"
    ]
    parts += (_model(name, schema) for name, schema in _models(api).items())
    parts += [
        "\n## Events\n\nThe `data` of each topic; [schemas](schemas/) has their JSON Schemas.\n\n",
        _topics(),
    ]
    parts += ["\n## Codes\n\n", table(("code", "status", "routes"), _codes(api))]
    parts += ["\n`METHOD_NOT_ALLOWED` (405) and `NOT_FOUND` (404) also answer what is no route at all.\n"]
    parts += [
        "\n## Of the console\n\nPages are for people. Machines may ask, on the console's own address:\n\n"
    ]
    parts.append(table(("route", "who", "what it tells"), _console_routes()))
    return "".join(parts)


@cache
def gateway_document() -> dict[str, Any]:
    """The gateway's OpenAPI document. Change nothing in it."""
    return build_app(_nothing()).openapi()


@cache
def console_document() -> dict[str, Any]:
    """The console's. Change nothing in it."""
    return build_console(_nothing()).openapi()


def _nothing() -> Any:
    """What an application is built with that nobody asks anything."""
    return SimpleNamespace(database=None, dsn="", settings=SimpleNamespace(origin="http://localhost"))


def routes(api: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method in capitals, path, operation."""
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, operation


def _route(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [f"\n### {method} {path}\n\n**{operation['summary']}.** " if not operation["summary"].endswith("?")
             else f"\n### {method} {path}\n\n**{operation['summary']}** "]  # fmt: skip
    parts += [f"{operation['description']}\n\n", f"Asks for: {_auth(operation)}.\n\n"]
    if parameters := operation.get("parameters"):
        rows = ((f"`{each['name']}`", each["in"], *_field(each["schema"], each)) for each in parameters)
        parts += [table(("parameter", "in", "type", "meaning"), rows), "\n"]
    if body := operation.get("requestBody"):
        parts.append(f"Body: {body['description']} {_body(body)}\n\n")
    parts.append(
        table(
            ("answer", "body", "meaning"), (_answer(*each) for each in sorted(operation["responses"].items()))
        )
    )
    return "".join(parts) + f"\n```sh\n{_curl(method, path, operation)}\n```\n"


def _auth(operation: Mapping[str, Any]) -> str:
    if operation.get("security"):
        return "a strategy's token"
    signed = any(each["name"].lower() == SIGNED.lower() for each in operation.get("parameters", ()))
    return f"the broker's signature, `{SIGNED}`" if signed else "nothing"


def _body(body: Mapping[str, Any]) -> str:
    return " ".join(_type(each["schema"]) for each in body["content"].values() if each["schema"])


def _answer(status: str, answer: Mapping[str, Any]) -> tuple[str, ...]:
    shown = answer.get("content", {})
    code = shown.get("application/json", {}).get("example", {}).get("error", {}).get("code")
    kinds = [_type(each["schema"]) if "schema" in each else f"`{name}`" for name, each in shown.items()]
    headers = ", ".join(f"`{name}`" for name in answer.get("headers", ()))
    meaning = one_line(answer["description"]).replace("Successful Response", "As asked.") + (
        f" Header: {headers}." if headers else ""
    )
    return f"{status} `{code}`" if code else status, ", ".join(kinds) or "none", meaning


def _curl(method: str, path: str, operation: Mapping[str, Any]) -> str:
    for name, value in NAMED.items():
        path = path.replace(f"{{{name}}}", value)
    token = ' -H "Authorization: Bearer $TOKEN"' if operation.get("security") else ""
    if operation.get("requestBody", {}).get("content", {}).get("application/json"):
        return _posting(path, token, operation)
    if method == "POST":
        return (
            "t=$(date +%s); body='{}'\n"
            'sig=$(printf \'%s.%s\' "$t" "$body" | openssl dgst -sha256 -hmac "$SECRET" -hex | sed \'s/.* //\')\n'
            f'curl -X POST "$GATEWAY{path}" -H "{SIGNED}: t=$t,v1=$sig" --data "$body"'
        )
    query = {"/v1/events": "?topic=trading.execution.fill", "/v1/signals": "?limit=20"}.get(path, "")
    return f'curl{" -N" if path == "/v1/events" else ""} "$GATEWAY{path}{query}"{token}'


def _posting(path: str, token: str, operation: Mapping[str, Any]) -> str:
    """The first example of the body, made now: one of the document is too old by the time it is read."""
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    body = dict(next(iter(examples.values()))["value"]) | {
        "created_at": "NOW",
        "signal_id": NAMED["signal_id"],
    }
    text = json.dumps(body, indent=1).replace("NOW", "'\"$(date -u +%FT%TZ)\"'")
    return f"curl -X POST \"$GATEWAY{path}\"{token} \\\n  -H 'Content-Type: application/json' -d '{text}'"


def _models(api: Mapping[str, Any]) -> dict[str, Any]:
    """What bodies are made of, enumerations after what uses them; payloads of events have their own place."""
    events = {each.__name__ for each in PAYLOADS.values()} | {"RiskMetrics"}
    found = {name: each for name, each in api["components"]["schemas"].items() if name not in events}
    return dict(sorted(found.items(), key=lambda each: ("enum" in each[1], each[0])))


def _model(name: str, schema: Mapping[str, Any]) -> str:
    said = schema.get("description")
    head = f"\n### {name}\n\n" + (f"{one_line(said)}\n\n" if said else "")
    if "enum" in schema:
        return head + ", ".join(f"`{each}`" for each in schema["enum"]) + ".\n"
    needed = schema.get("required", ())
    rows = (
        (f"`{field}`" + ("" if field in needed else "?"), *_field(each, each))
        for field, each in schema["properties"].items()
    )
    return head + table(("field", "type", "meaning"), rows)


def _field(schema: Mapping[str, Any], described: Mapping[str, Any]) -> tuple[str, str]:
    parts = [one_line(described.get("description"))]
    default = schema.get("default")
    if default not in (None, "", [], False):
        parts.append(f"Default `{default}`.")
    return _type(schema) + _bounds(schema), " ".join(filter(None, parts))


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return (
            f"[{name}](#{name.lower()})"
            if name not in {each.__name__ for each in PAYLOADS.values()}
            else name
        )
    if several := schema.get("anyOf"):
        return " or ".join(_type(each) + _bounds(each) for each in several)
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema.get("enum", [schema.get("const")]))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if "\\d" in schema.get("pattern", "") and "A-Z" not in schema["pattern"]:
        return "decimal"
    return {"date-time": "time", "uuid": "UUID"}.get(schema.get("format", ""), kind)


def _bounds(schema: Mapping[str, Any]) -> str:
    words = {"minimum": "from", "maximum": "to", "maxLength": "at most", "maxItems": "at most"}
    told = [f"{word} {schema[name]}" for name, word in words.items() if name in schema]
    if "pattern" in schema and _type(schema) != "decimal":
        told.append(f"`{schema['pattern']}`")
    return f" {', '.join(told)}" if told else ""


def _topics() -> str:
    rows = ((f"`{topic.value}`", one_line(payload.__doc__), ", ".join(f"`{each}`" for each in payload.model_fields))
            for topic, payload in PAYLOADS.items())  # fmt: skip
    return table(("topic", "what it tells", "fields"), rows)


def _codes(api: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Where each code answers, as the documents say it: by example, or by its name among the words."""
    for code in Code:
        found: dict[str, set[str]] = {}
        for method, path, operation in routes(api):
            for status, answer in operation["responses"].items():
                if f"`{code}`" in answer["description"] or f'"{code}"' in json.dumps(answer):
                    found.setdefault(status, set()).add(f"{method} {path}")
        where = sorted({each for some in found.values() for each in some})
        yield f"`{code}`", ", ".join(sorted(found)), ", ".join(f"`{each}`" for each in where)


def _console_routes() -> Iterator[tuple[str, ...]]:
    for method, path, operation in routes(console_document()):
        if path in OF_THE_CONSOLE:
            who = "a session's cookie" if path.startswith("/live/") else "anybody"
            yield f"`{method} {path}`", who, one_line(operation.get("description"))


if __name__ == "__main__":
    sys.exit(write_page(sys.argv[1:], FILE, document))
