"""The JSON Schemas of the topics and their AsyncAPI document, made from the payload models: docs/schemas/."""

import inspect
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from schemas.events import PAYLOADS
from schemas.wire import Topic

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI_FILE: Final = "asyncapi.json"
VERSION: Final = "1.0.0"
"""Of the payloads together. They only ever grow by optional fields."""

_DESCRIPTION: Final = (
    "Events of the trading interface. Each is delivered at least once, and those of one order in order. `event_id` "
    "is the same however often an event is delivered. Money and quantities are decimal strings, times have a zone. "
    "A reader ignores fields it does not know."
)


def schema_file(topic: Topic) -> str:
    """The name of a topic's file."""
    return f"{topic.value}.json"


def topic_schema(topic: Topic) -> dict[str, Any]:
    """The JSON Schema of one topic's payload, complete in itself."""
    schema = PAYLOADS[topic].model_json_schema()
    return {"$schema": DIALECT, "$id": f"urn:trading-interface:event:{topic.value}", **schema}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of every topic."""
    names = {topic: payload.__name__ for topic, payload in PAYLOADS.items()}
    _, schemas = models_json_schema(
        [(payload, "validation") for payload in PAYLOADS.values()],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "trading-interface events", "version": VERSION, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {
            topic.value: {
                "address": topic.value,
                "messages": {name: {"$ref": f"#/components/messages/{name}"}},
            }
            for topic, name in names.items()
        },
        "operations": {
            f"send.{topic.value}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{topic.value}"},
                "messages": [{"$ref": f"#/channels/{topic.value}/messages/{name}"}],
            }
            for topic, name in names.items()
        },
        "components": {
            "messages": {name: _message(topic, name) for topic, name in names.items()},
            "schemas": schemas["$defs"],
        },
    }


def _message(topic: Topic, name: str) -> dict[str, Any]:
    return {
        "name": topic.value,
        "title": name,
        "summary": (inspect.getdoc(PAYLOADS[topic]) or name).partition("\n\n")[0].replace("\n", " "),
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }


def documents() -> dict[str, dict[str, Any]]:
    """Every file of docs/schemas/ by name."""
    return {schema_file(topic): topic_schema(topic) for topic in PAYLOADS} | {ASYNCAPI_FILE: asyncapi()}
