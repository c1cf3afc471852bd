"""Promises that every model keeps, so that a new one cannot forget them."""

import importlib
import pkgutil
from decimal import Decimal
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

import schemas
from schemas.base import DecimalText, Edge, Wire


def every_model() -> list[type[BaseModel]]:
    """Each model that a module of schemas defines."""
    found = []
    for module_info in pkgutil.iter_modules(schemas.__path__):
        module = importlib.import_module(f"schemas.{module_info.name}")
        found += [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, BaseModel)
            and value.__module__ == module.__name__
        ]
    return sorted(found, key=lambda model: (model.__module__, model.__name__))


MODELS = [model for model in every_model() if model not in (Wire, Edge)]
IDS = [f"{model.__module__}.{model.__name__}" for model in MODELS]


DOCUMENTS = {"AuditEntry.input": "written once as canonical JSON, hashed and kept; never read back"}
"""Fields that may hold any JSON, and why."""


def mentions(annotation: Any, wanted: type) -> bool:
    """Whether a type is ``wanted`` or holds it somewhere."""
    return annotation is wanted or any(mentions(part, wanted) for part in get_args(annotation))


def test_there_are_models() -> None:
    assert len(MODELS) > 20


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_is_frozen_and_says_what_it_does_with_unknown_fields(model: type[BaseModel]) -> None:
    assert model.model_config.get("frozen") is True, "derive it from Wire or Edge"
    assert issubclass(model, Wire | Edge), (
        "derive it from Wire (crosses Temporal) or Edge (a stranger fills it in)"
    )
    assert model.model_config.get("extra") == ("ignore" if issubclass(model, Wire) else "forbid")


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_holds_nothing_that_can_change_or_lose_its_type(model: type[BaseModel]) -> None:
    """A list could change under a frozen model; an untyped dict turns Decimals into texts on the way."""
    for name, field in model.model_fields.items():
        assert not mentions(field.annotation, list), f"{name}: make it a tuple"
        assert not mentions(field.annotation, set), f"{name}: make it a frozenset"
        untyped = mentions(field.annotation, Any)  # type: ignore[arg-type]
        assert untyped == (f"{model.__name__}.{name}" in DOCUMENTS), f"{name}: give it a type"


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_money_is_text_in_its_json_schema(model: type[BaseModel]) -> None:
    properties = model.model_json_schema(mode="serialization").get("properties", {})
    for name, field in model.model_fields.items():
        if mentions(field.annotation, Decimal):
            assert '"number"' not in str(properties[name]).replace("'", '"'), f"{name}: use DecimalText"


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_its_json_schema_can_be_made(model: type[BaseModel]) -> None:
    """Schemas are published; a field that has none would break the export."""
    assert model.model_json_schema(mode="validation")
    assert model.model_json_schema(mode="serialization")


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_defaults_are_valid(model: type[BaseModel]) -> None:
    """pydantic does not validate defaults: a wrong one would show on the first order only."""
    for name, field in model.model_fields.items():
        if not field.is_required():
            default = field.get_default(call_default_factory=True, validated_data={})
            assert TypeAdapter(field.rebuild_annotation()).validate_python(default, strict=True) == default, (
                name
            )


def test_a_wrong_default_would_be_found() -> None:
    class Wrong(Wire):
        quantity: DecimalText = 1.5  # type: ignore[assignment]

    with pytest.raises(ValidationError):
        test_defaults_are_valid(Wrong)
