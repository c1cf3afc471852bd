"""Money is never a float, decisions read no clock, and nothing that workflows do depends on a set's order."""

import ast
import re

import pytest

from tests.tidy.tree import allowed, check, dotted, nodes, parse, sources

MONEY_PATHS = (
    "schemas",
    "risk",
    "broker",
    "market",
    "storage",
    "activities",
    "audit",
    "workflows",
    "gateway",
    "simulation",
)
DECISIONS = ("workflows", "risk", "schemas")

MAY_BE_FLOAT = re.compile(r"(_seconds|_ms)$|^seconds_to_")
"""Durations and latencies, by their unit."""

CLOCKS = {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter",
    "time.perf_counter_ns", "time.sleep", "time.localtime", "time.gmtime",
}  # fmt: skip
CHANCE = {"uuid4", "uuid1", "uuid7", "random", "randint", "choice", "shuffle", "token_hex", "urandom"}
"""Last part of a call to the ``uuid``, ``random``, ``secrets`` or ``os`` module."""
CHANCE_MODULES = {"uuid", "random", "secrets", "os"}


def float_fields(source: str) -> list[tuple[int, str]]:
    """Annotations with ``float`` on anything that is no duration."""
    found = []
    for node in nodes(source):
        if isinstance(node, ast.AnnAssign):
            name, annotation = dotted(node.target).split(".")[-1], node.annotation
        elif isinstance(node, ast.arg):
            name, annotation = node.arg, node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name, annotation = node.name, node.returns
        else:
            continue
        if annotation is not None and mentions_float(annotation) and not MAY_BE_FLOAT.search(name):
            line = annotation.lineno
            if not allowed(source, "float", line):
                found.append(
                    (line, f"{name} is a float: use DecimalText, or end a duration's name in _seconds or _ms")
                )
    return found


def mentions_float(annotation: ast.expr) -> bool:
    """``float`` anywhere in it, quoted or not."""
    return any(
        (isinstance(part, ast.Name) and part.id == "float")
        or (
            isinstance(part, ast.Constant)
            and isinstance(part.value, str)
            and re.search(r"\bfloat\b", part.value)
        )
        for part in ast.walk(annotation)
    )


def float_calls(source: str) -> list[tuple[int, str]]:
    """Calls of ``float`` whose argument or result has no duration's name."""
    timed: set[int] = set()
    for node in nodes(source):
        name, value = "", None
        if isinstance(node, ast.keyword):
            name, value = node.arg or "", node.value
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            name, value = dotted(targets[0]).split(".")[-1], node.value
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and MAY_BE_FLOAT.search(node.name):
            timed |= {id(part) for part in ast.walk(node)}
        if value is not None and MAY_BE_FLOAT.search(name.lower()):
            timed |= {id(part) for part in ast.walk(value)}
    return [
        (
            node.lineno,
            "float() on a money path: keep the Decimal, or give a duration a name in _seconds or _ms",
        )
        for node in nodes(source)
        if isinstance(node, ast.Call)
        and dotted(node.func) == "float"
        and id(node) not in timed
        and not any(MAY_BE_FLOAT.search(dotted(argument).lower()) for argument in node.args)
        and not allowed(source, "float", node.lineno)
    ]


def clock_reads(source: str) -> list[tuple[int, str]]:
    """Calls that read a clock or roll dice."""
    found = []
    for node in nodes(source):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        parts = name.split(".")
        short = ".".join(parts[-2:])
        is_chance = parts[-1] in CHANCE and (len(parts) == 1 or parts[-2] in CHANCE_MODULES)
        if short in CLOCKS:
            found.append(
                (node.lineno, f"{name}() reads a clock: take `now` as an argument, or workflow.now()")
            )
        elif is_chance:
            found.append((node.lineno, f"{name}() is not repeatable: derive the id, or use workflow.uuid4()"))
    return found


class SetOrder(ast.NodeVisitor):
    """Finds iteration over what is visibly a set. Best effort: types are not inferred."""

    ORDERED_BY = {"sorted", "len", "sum", "min", "max", "any", "all", "set", "frozenset"}

    def __init__(self, source: str) -> None:
        self.found: list[tuple[int, str]] = []
        tree = parse(source)
        self.sets = {name for node in nodes(source) for name in self._names_of_sets(node)}
        self.visit(tree)

    def _names_of_sets(self, node: ast.AST) -> list[str]:
        if isinstance(node, ast.AnnAssign):
            is_set = dotted(getattr(node.annotation, "value", node.annotation)) in {"set", "frozenset"}
            return [dotted(node.target)] if is_set or (node.value and self._is_set(node.value)) else []
        if isinstance(node, ast.Assign) and self._is_set(node.value):
            return [dotted(target) for target in node.targets]
        return []

    def _is_set(self, node: ast.expr) -> bool:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub):
            return self._is_set(node.left)
        return (
            isinstance(node, ast.Set | ast.SetComp)
            or (isinstance(node, ast.Call) and dotted(node.func) in {"set", "frozenset"})
            or dotted(node) in getattr(self, "sets", set())
        )

    def _look_at(self, node: ast.expr) -> None:
        if self._is_set(node):
            text = "a set's order differs between two workers, so replay would too: iterate over sorted(…)"
            self.found.append((node.lineno, text))

    def visit_For(self, node: ast.For) -> None:
        self._look_at(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._look_at(node.iter)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = dotted(node.func).split(".")[-1]
        if name in {"list", "tuple", "iter", "enumerate", "join", "gather"}:
            for argument in node.args:
                self._look_at(argument)
        if name in self.ORDERED_BY:
            for argument in node.args:
                if isinstance(argument, ast.GeneratorExp | ast.ListComp | ast.SetComp):
                    self.visit(argument.elt)
            return
        self.generic_visit(node)


def set_iterations(source: str) -> list[tuple[int, str]]:
    """Iterations over sets in workflow code."""
    return [(line, text) for line, text in SetOrder(source).found if not allowed(source, "set", line)]


def test_no_field_of_a_schema_is_a_float() -> None:
    check(sources("schemas"), float_fields)


def test_no_money_becomes_a_float() -> None:
    check(sources(*MONEY_PATHS), float_calls)


def test_decisions_read_no_clock() -> None:
    check(sources(*DECISIONS), clock_reads)


def test_workflows_iterate_over_no_set() -> None:
    check(sources("workflows"), set_iterations)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("price: float", [1]),
        ("price: float | None = None", [1]),
        ("price: 'Annotated[float, 1]'", [1]),
        ("def total(price: float) -> Decimal: ...", [1]),
        ("def total() -> list[float]: ...", [1]),
        ("age_seconds: float | None = None\nlatency_ms: float\nseconds_to_close: float", []),
        ("# tidy: float because a share of one, no money\nshare: float", []),
        ("price: Decimal", []),
    ],
)
def test_float_fields_are_found(source: str, lines: list[int]) -> None:
    assert [line for line, _ in float_fields(source)] == lines


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("x = float(price)", [1]),
        ("f(price=float(text))", [1]),
        ("f(retry_after_seconds=float(text))\nLATENCY_MS = float(text)\nf(float(POST_SECONDS))", []),
        ("def age_seconds(a):\n    return float(a)", []),
        ("x = float(share)  # tidy: float because prometheus takes floats only", []),
        ("x = Decimal(text)", []),
    ],
)
def test_float_calls_are_found(source: str, lines: list[int]) -> None:
    assert [line for line, _ in float_calls(source)] == lines


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("datetime.now(UTC)", [1]),
        ("datetime.datetime.utcnow()", [1]),
        ("date.today()", [1]),
        ("time.monotonic()", [1]),
        ("uuid.uuid4()\nuuid4()\nrandom.random()\nos.urandom(3)", [1, 2, 3, 4]),
        ("workflow.now()\nworkflow.uuid4()\nworkflow.random().choice([1])\nself.now()\nclock.now", []),
    ],
)
def test_clocks_and_dice_are_found(source: str, lines: list[int]) -> None:
    assert [line for line, _ in clock_reads(source)] == lines


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("for x in {1, 2}: ...", [1]),
        ("s = set()\nfor x in s: ...", [2]),
        ("self.seen: set[str] = make()\n[x for x in self.seen]", [2]),
        ("tuple({x for x in y})", [1]),
        ("','.join(frozenset(y))", [1]),
        ("a = {1}\nlist(a | b)", [2]),
        ("a = {1}\nfor x in sorted(a): ...\nlen(a)\nany(x for x in a)\n1 in a", []),
        ("for x in [1, 2]: ...\nd = {1: 2}\nfor x in d: ...", []),
        ("a = {1}\nfor x in a: ...  # tidy: set because only counted, order is lost again", []),
    ],
)
def test_set_iterations_are_found(source: str, lines: list[int]) -> None:
    assert [line for line, _ in set_iterations(source)] == lines
