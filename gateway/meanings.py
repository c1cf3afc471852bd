"""What each field means, for /openapi.json: the words that stand under it in the code."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, MutableMapping
from typing import Any, Final

from pydantic import BaseModel

PACKAGES: Final = ("schemas", "gateway")
"""Whose models strangers see."""


def add_meanings(schemas: MutableMapping[str, Any]) -> None:
    """Give the fields of these schemas a description, where the model of that name says one and they have none."""
    models = {
        model.__name__: model for model in _below(BaseModel) if model.__module__.split(".")[0] in PACKAGES
    }
    for name, schema in schemas.items():
        if name in models:
            said = meanings(models[name])
            for field, described in schema.get("properties", {}).items():
                if field in said:
                    described.setdefault("description", said[field])


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Field → the docstring below it, its own or that of a model it inherits from."""
    found: dict[str, str] = {}
    for each in model.__mro__:
        if issubclass(each, BaseModel) and each.__module__.split(".")[0] in PACKAGES:
            found = dict(_docstrings(each)) | found
    return found


def _docstrings(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            yield field.target.id, " ".join(str(below.value.value).split()).replace("``", "`")


def _below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in model.__subclasses__():
        yield each
        yield from _below(each)
