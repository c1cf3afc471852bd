"""A fault plan: named faults with one seed, from a file, a request or a header, refused with the field's name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulation.faults import REQUEST_ACTIONS, Fault

DEFAULT_SEED: Final = 1
FAULT_HEADER: Final = "X-Exchange-Fault"


class WrongPlan(ValueError):
    """A fault or a plan that cannot be; ``problems`` maps each wrong field to what is wrong with it."""

    def __init__(self, problems: dict[str, str]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{field}: {text}" for field, text in problems.items()))


class FaultPlan(BaseModel):
    """Faults that belong together.

    One draw decides each occasion: of the faults with a probability that fit it at most one happens, and each
    as often as its probability says. The same ``seed`` and the same sequence of occasions give the same faults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    seed: int = DEFAULT_SEED
    faults: tuple[Fault, ...] = Field(min_length=1)

    def as_json(self) -> dict[str, Any]:
        """The body of ``POST /_exchange/faults``, or a file's content."""
        return {
            "name": self.name,
            "seed": self.seed,
            "faults": [fault.as_json() for fault in self.faults],
        }


def read_plan(text: str | bytes, seed: int | None = None) -> FaultPlan:
    """The plan in a JSON text; ``seed`` replaces its own. Raises WrongPlan."""
    try:
        plan = FaultPlan.model_validate_json(text)
    except ValidationError as error:
        raise WrongPlan(problems_of(error)) from None
    return plan if seed is None else plan.model_copy(update={"seed": seed})


def read_plan_file(file: Path, seed: int | None = None) -> FaultPlan:
    """Raises WrongPlan, OSError."""
    return read_plan(file.read_bytes(), seed)


def read_order(text: bytes) -> Fault | FaultPlan:
    """One fault, or a whole plan where there is a field ``faults``. Raises WrongPlan."""
    try:
        return _Envelope.model_validate_json(text).content()
    except ValidationError as error:
        raise WrongPlan(problems_of(error)) from None


def read_header(text: str) -> Fault:
    """``action``, or ``action;latency_ms=250``: one fault of a request for the one that brings it.

    Raises WrongPlan.
    """
    action, *options = (part.strip() for part in text.split(";"))
    fields: dict[str, Any] = {"action": action}
    for option in options:
        name, equals, value = (part.strip() for part in option.partition("="))
        if not equals or name not in ("latency_ms", "skew_ms"):
            raise WrongPlan({FAULT_HEADER: f"{option!r} is not latency_ms=N or skew_ms=N"})
        fields[name] = value
    try:
        fault = Fault.model_validate(fields)
    except ValidationError as error:
        problems = problems_of(error)
        raise WrongPlan({f"{FAULT_HEADER} {field}": text for field, text in problems.items()}) from None
    if fault.action not in REQUEST_ACTIONS:
        raise WrongPlan({f"{FAULT_HEADER} action": f"{action} does not happen to a request"})
    return fault


def problems_of(error: ValidationError) -> dict[str, str]:
    """What is wrong by field, one text each; ``plan`` where it is the whole."""
    told: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_context=False):
        told.setdefault(_field(problem["loc"]), problem["msg"].removeprefix("Value error, "))
    # A wrong item makes pydantic count the list as short of one: the item says it all.
    return {
        field: text for field, text in told.items() if not any(each.startswith(f"{field}.") for each in told)
    }


def _field(loc: Sequence[int | str]) -> str:
    return ".".join(map(str, loc)) or "plan"


class _Envelope(BaseModel):
    """Either; which one is seen by ``faults``, so that an error is told about the one that was meant."""

    model_config = ConfigDict(extra="allow")

    def content(self) -> Fault | FaultPlan:
        given = self.model_extra or {}
        wanted = FaultPlan if "faults" in given else Fault
        return wanted.model_validate(given)
