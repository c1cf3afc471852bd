"""Every route of the console as it was built, and who may ask for it: read from the application itself."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from console.web.access import PUBLIC, SAFE_METHODS, Check, Needs, NeedsEnrolment, NeedsEntry
from schemas.people import Role

ALL_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
SOME_ID: Final = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Door:
    """One method of one route."""

    method: str
    path: str
    check: Check | None
    """None: anybody."""

    @property
    def changes(self) -> bool:
        return self.method not in SAFE_METHODS

    @property
    def url(self) -> str:
        """An address that leads there."""
        return re.sub(r"\{[^}]+\}", SOME_ID, self.path)

    @property
    def fresh(self) -> bool:
        return self.check is not None and self.check.fresh

    def lets(self, role: Role) -> bool:
        """Whether somebody with password, fresh factor and this role may pass."""
        return not isinstance(self.check, Needs) or self.check.role is None or role.covers(self.check.role)


def checks_of(dependant: Dependant) -> list[Check]:
    """The access dependencies that a route names, wherever they stand; one that is named twice is one."""
    own = [dependant.call] if isinstance(dependant.call, Check) else []
    found = own + [check for inner in dependant.dependencies for check in checks_of(inner)]
    return list({id(check): check for check in found}.values())


def doors(app: FastAPI) -> Iterator[Door]:
    """Every door, checked to have exactly one lock or to be on the public list."""
    for route in routes(app):
        original = getattr(route, "original_route", route)
        assert isinstance(original, APIRoute), (
            f"{original} is no route of FastAPI: nobody can say who may ask"
        )
        for method in sorted(route.methods):
            found = checks_of(route.dependant)
            if (method, route.path) in PUBLIC:
                assert not found, f"{method} {route.path} is public and names a lock"
                yield Door(method, route.path, None)
                continue
            assert len(found) == 1, f"{method} {route.path} names {len(found)} of console.web.access, not one"
            assert isinstance(found[0], Needs | NeedsEntry | NeedsEnrolment)
            yield Door(method, route.path, found[0])


def routes(app: FastAPI) -> list[Any]:
    """All routes, those of included routers too, as they are in force."""
    found: list[Any] = []
    waiting: list[Any] = list(app.routes)
    while waiting:
        route = waiting.pop(0)
        if hasattr(route, "effective_candidates"):
            waiting += [*route.effective_candidates(), *route.effective_low_priority_routes()]
        else:
            found.append(route)
    return found
