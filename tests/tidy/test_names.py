"""Our top-level names are common words, so nobody else may have them: not Python, not a dependency."""

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT, packages, pyproject

OUR_DISTRIBUTION = "trading-interface"
NOT_SHIPPED = {"tests"}
"""Folders with an ``__init__.py`` that are no part of the wheel."""


def foreign_owners(name: str, owners: Mapping[str, Iterable[str]]) -> list[str]:
    """Installed distributions other than ours that bring a module of this name."""
    return sorted(
        {owner for owner in owners.get(name, ()) if owner.lower().replace("_", "-") != OUR_DISTRIBUTION}
    )


@pytest.mark.parametrize("name", packages())
def test_is_no_standard_module(name: str) -> None:
    assert name not in sys.stdlib_module_names, (
        f"{name} is a module of Python itself, which ours would shadow from here: rename the folder"
    )


@pytest.mark.parametrize("name", packages())
def test_loads_from_this_repository(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"{name} cannot be imported: run make install-dev"
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT), (
        f"{name} loads from {spec.origin}, not from here: another distribution shadows it, uninstall that one"
    )


@pytest.mark.parametrize("name", packages())
def test_is_provided_by_no_other_distribution(name: str) -> None:
    others = foreign_owners(name, metadata.packages_distributions())
    assert not others, (
        f"{name} is also installed by {', '.join(others)}: drop that dependency or rename our folder"
    )


def test_another_owner_would_be_found() -> None:
    owners = {"workflows": ["trading_interface", "llama-index-workflows"], "risk": ["trading-interface"]}
    assert foreign_owners("workflows", owners) == ["llama-index-workflows"]
    assert foreign_owners("risk", owners) == []
    assert foreign_owners("schemas", owners) == []


def test_the_list_is_the_folders() -> None:
    folders = {file.parent.name for file in ROOT.glob("*/__init__.py")} - NOT_SHIPPED
    assert sorted(packages()) == sorted(folders), (
        "pyproject's wheel packages and the folders with an __init__.py differ: add the folder to the list, "
        "or leave out the __init__.py of a folder that is not shipped"
    )


def test_every_tool_has_the_same_list() -> None:
    tools = pyproject()["tool"]
    assert sorted(tools["mypy"]["packages"]) == sorted(packages()), "bring [tool.mypy] packages in line"
    assert sorted(tools["importlinter"]["root_packages"]) == sorted(packages()), (
        "bring [tool.importlinter] root_packages in line: a package left out has no import rules"
    )


@pytest.mark.parametrize("name", packages())
def test_says_that_it_is_typed(name: str) -> None:
    assert (ROOT / name / "py.typed").is_file(), (
        f"add an empty {name}/py.typed, or its types are lost in a wheel"
    )
