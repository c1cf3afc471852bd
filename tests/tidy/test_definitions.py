"""What is public says what it is; what Temporal calls has a name that outlives refactoring."""

import ast
from collections.abc import Iterator

import pytest

from schemas import wire
from tests.tidy.tree import Function, allowed, check, dotted, nodes, parse, sources

NAMED = {
    "workflow.defn": "WORKFLOW_",
    "workflow.signal": "SIGNAL_",
    "workflow.update": "UPDATE_",
    "workflow.query": "QUERY_",
    "activity.defn": "ACTIVITY_",
}
"""Decorator → how the constant in ``schemas.wire`` begins."""

ENUM_BASES = {"Enum", "StrEnum", "IntEnum", "Flag"}
SHORT_LINES_MAX = 12
"""Of a whole function, or a class of typed fields only. What is longer or untyped needs a docstring."""

IDEMPOTENT = "idempotent"


def is_public(name: str) -> bool:
    return not name.startswith("_")


def public_definitions(tree: ast.Module) -> Iterator[ast.ClassDef | Function]:
    """Classes and functions of the module's top level."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function) and is_public(node.name):
            yield node


def explains_itself(node: ast.ClassDef | Function) -> bool:
    """Enumerations, whose members speak, and what is short and typed throughout."""
    short = (node.end_lineno or node.lineno) - node.lineno + 1 <= SHORT_LINES_MAX
    if isinstance(node, ast.ClassDef):
        is_enum = any(dotted(base).split(".")[-1] in ENUM_BASES for base in node.bases)
        return is_enum or (short and all(isinstance(part, ast.AnnAssign | ast.Expr) for part in node.body))
    parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return short and node.returns is not None and all(parameter.annotation for parameter in parameters)


def missing_docstrings(source: str) -> list[tuple[int, str]]:
    """Public classes and functions, and modules, without a docstring."""
    tree = parse(source)
    found = []
    if tree.body and not ast.get_docstring(tree):
        found.append((1, "say in a docstring at the top what this module is for"))
    found += [
        (node.lineno, f"{node.name}: say what it is: shapes, units, errors; or make it private with _")
        for node in public_definitions(tree)
        if not ast.get_docstring(node) and not explains_itself(node)
    ]
    return found


def decorators(source: str) -> Iterator[tuple[ast.ClassDef | Function, ast.expr, str]]:
    """Every use of a decorator of Temporal: what it stands on, itself, and ``workflow.defn`` or the like."""
    for node in nodes(source):
        if isinstance(node, ast.ClassDef | Function):
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                name = ".".join(dotted(called).split(".")[-2:])
                if name in NAMED:
                    yield node, decorator, name


def wire_constant(value: ast.expr, imported: set[str]) -> str:
    """``ORDER`` of ``wire.ORDER``, or of a name imported from ``schemas.wire``; else nothing."""
    name = dotted(value)
    if name.startswith(("wire.", "schemas.wire.")):
        return name.split(".")[-1]
    return name if name in imported else ""


def unnamed(source: str) -> list[tuple[int, str]]:
    """Workflows, activities, signals, updates and queries whose name is not from ``schemas.wire``."""
    imported = {
        alias.asname or alias.name
        for node in nodes(source)
        if isinstance(node, ast.ImportFrom) and node.module == "schemas.wire"
        for alias in node.names
    }
    found = []
    for node, decorator, kind in decorators(source):
        arguments = (
            {key.arg: key.value for key in decorator.keywords} if isinstance(decorator, ast.Call) else {}
        )
        if "dynamic" in arguments:
            continue
        constant = wire_constant(arguments["name"], imported) if "name" in arguments else ""
        if not constant:
            found.append(
                (node.lineno, f"{node.name}: @{kind}(name=wire.{NAMED[kind]}…), or a rename breaks what runs")
            )
        elif not constant.startswith(NAMED[kind]) or not isinstance(getattr(wire, constant, None), str):
            found.append((node.lineno, f"{node.name}: {constant} is no {NAMED[kind]}… of schemas.wire"))
    return found


def not_idempotent(source: str) -> list[tuple[int, str]]:
    """Activities that do not say what a second run does."""
    return [
        (
            node.lineno,
            f"{node.name}: an activity runs at least once; say in its docstring how it is {IDEMPOTENT}",
        )
        for node, _, kind in decorators(source)
        if kind == "activity.defn"
        and IDEMPOTENT not in (ast.get_docstring(node) or "").lower()
        and not allowed(source, IDEMPOTENT, node.lineno)
    ]


def test_what_is_public_is_documented() -> None:
    check([file for file in sources() if file.name != "__init__.py"], missing_docstrings)


def test_what_temporal_calls_is_named_in_wire() -> None:
    check(sources(), unnamed)


def test_every_activity_says_how_it_is_idempotent() -> None:
    check(sources(), not_idempotent)


def test_names_in_wire_are_used() -> None:
    """A name that nothing carries is a promise to nobody: an order would wait for it for ever."""
    carried = {
        wire_constant(key.value, set())
        for file in sources()
        for _, decorator, _ in decorators(file.read_text())
        if isinstance(decorator, ast.Call)
        for key in decorator.keywords
        if key.arg == "name"
    }
    promised = {
        name for name in vars(wire) if name.startswith(("WORKFLOW_", "ACTIVITY_", "UPDATE_", "QUERY_"))
    }
    assert promised, "schemas.wire names nothing: this rule looks for the wrong prefixes"
    unused = promised - carried
    assert not unused, f"implement or delete in schemas/wire.py: {sorted(unused)}"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("'''M.'''\ndef work(): ...", 1),
        ("'''M.'''\nasync def work(): ...", 1),
        ("'''M.'''\nclass Order(Wire):\n    price: Decimal", 0),
        ("'''M.'''\ndef work(price) -> None: ...", 1),
        ("'''M.'''\ndef work(price: Decimal) -> None:\n" + "    pass\n" * 11, 0),
        ("'''M.'''\ndef work(price: Decimal) -> None:\n" + "    pass\n" * 12, 1),
        ("'''M.'''\nclass Order(Wire):\n    def a(self): ...", 1),
        ("x = 1", 1),
        ("", 0),
        ("'''M.'''\ndef _work(): ...\nclass _A: ...\nclass Side(StrEnum): ...", 0),
        ("'''M.'''\ndef work():\n    '''Works.'''\nclass A:\n    '''A.'''\n    def b(self): ...", 0),
    ],
)
def test_missing_docstrings_are_found(source: str, count: int) -> None:
    assert len(missing_docstrings(source)) == count


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("@workflow.defn\nclass A: ...", 1),
        ("@workflow.defn(name='order')\nclass A: ...", 1),
        ("@workflow.defn(name=wire.WORKFLOW_ORDER)\nclass A: ...", 0),
        ("@workflow.defn(name=wire.ACTIVITY_PLACE_ORDER)\nclass A: ...", 1),
        ("@workflow.defn(name=wire.WORKFLOW_GONE)\nclass A: ...", 1),
        (
            "class A:\n    @workflow.signal\n    def s(self): 1\n    @workflow.query()\n    def q(self): 2",
            2,
        ),
        ("class A:\n    @workflow.signal(dynamic=True)\n    def s(self, name, args): ...", 0),
        (
            "from schemas.wire import QUERY_STATUS\n@workflow.query(name=QUERY_STATUS)\ndef q(self): ...",
            0,
        ),
        ("class A:\n    @activity.defn(name=wire.ACTIVITY_PLACE_ORDER)\n    async def p(self): ...", 0),
    ],
)
def test_missing_names_are_found(source: str, count: int) -> None:
    assert len(unnamed(source)) == count


def test_silent_activities_are_found() -> None:
    silent = "class A:\n    @activity.defn(name=wire.X)\n    async def place(self):\n        '''Place.'''"
    assert len(not_idempotent(silent)) == 1
    assert not_idempotent(silent.replace("Place.", "Idempotent by client_order_id.")) == []
    assert not_idempotent(silent.replace("@activity.defn(name=wire.X)", "@staticmethod")) == []
