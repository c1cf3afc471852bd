"""Ready-made fault plans, by name."""

from pathlib import Path
from typing import Final

from simulation.fault_plan import DEFAULT_SEED, FaultPlan, WrongPlan, read_plan_file

_FOLDER: Final = Path(__file__).with_name("plans")


def mix_names() -> tuple[str, ...]:
    """What ``load_mix`` knows."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.json")))


def load_mix(name: str, seed: int = DEFAULT_SEED) -> FaultPlan:
    """The plan of that name, drawing with ``seed``. Raises WrongPlan for a name there is none of."""
    if name not in mix_names():
        raise WrongPlan({"name": f"{name!r} is none of {', '.join(mix_names())}"})
    return read_plan_file(_FOLDER / f"{name}.json", seed)


def named_plan(name_or_file: str, seed: int | None = None) -> FaultPlan:
    """A ready-made plan by its name, else the one in that file. Raises WrongPlan, OSError."""
    if name_or_file in mix_names():
        return load_mix(name_or_file, DEFAULT_SEED if seed is None else seed)
    file = Path(name_or_file)
    try:
        return read_plan_file(file, seed)
    except FileNotFoundError:
        known = ", ".join(mix_names())
        raise WrongPlan({"plan": f"there is no file {file}, and no ready-made plan but {known}"}) from None
    except WrongPlan as error:
        raise WrongPlan({f"{file}: {field}": text for field, text in error.problems.items()}) from None
