"""Every write is made in a commit with a name of its own, so that a crash can be ordered on either side of it."""

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from storage import statements
from tests.tidy.test_sql import loaded_group
from tests.tidy.tree import ROOT, Function, check, dotted, nodes, parse, sources
from workers.chaos.points import NOT_THE_PRODUCT, PACKAGES, DynamicName, names, places, places_in

POINTS_MIN: Final = 40
WRITES: Final = re.compile(r"\b(?:insert into|update \w+ |delete from|for update|lock table)", re.IGNORECASE)
HANDED: Final = ("Connection", "LockedOrder", "Bell")
"""In the annotation of a parameter: whoever calls brings the connection, and with it the commit."""

Name = tuple[str, str]
"""(module, function or Class.method)."""


@dataclass
class Known:
    """One function, as far as it is outside a named commit."""

    line: int
    handed: bool
    """It works on a connection that it was given."""
    statements: list[str] = field(default_factory=list)
    uses: list[Name] = field(default_factory=list)
    """Functions that it names; the module is empty for a method of something unknown."""


def outside_commits(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in a function outside every named commit; inner functions are functions of their own."""
    if isinstance(node, Function | ast.ClassDef):
        return
    yield node
    opened = node.items if isinstance(node, ast.AsyncWith | ast.With) else []
    inner: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if any(_called(item.context_expr) in ("committing", "transaction") for item in opened):
        inner = opened
    elif isinstance(node, ast.Call) and re.search(r"(^|[._])database\.run$", dotted(node.func)):
        inner = [node.func]
    for child in inner:
        yield from outside_commits(child)


def _called(node: ast.expr) -> str:
    return dotted(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""


class Module:
    """The functions of one module by name, and what its names mean."""

    def __init__(self, module: str, source: str) -> None:
        self.module = module
        self.functions: dict[Name, Known] = {}
        self._groups: dict[str, str] = {}
        self._imported: dict[str, Name] = {}
        """Local name → (module, function), or (module, "") for a module."""
        tree = parse(source)
        for node in nodes(source):
            self._learn(node)
        self._read(tree, None, in_class=False, handed=False)

    def _learn(self, node: ast.AST) -> None:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                local, inside = alias.asname or alias.name, f"{node.module}.{alias.name}"
                is_module = (ROOT / f"{inside.replace('.', '/')}.py").exists()
                self._imported[local] = (inside, "") if is_module else (node.module, alias.name)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if group := loaded_group(node.value):
                    self._groups[dotted(target)] = group

    def _read(self, node: ast.AST, owner: str | None, *, in_class: bool, handed: bool) -> None:
        """``owner``: the class whose ``self`` is meant; ``in_class``: a function here is a method of it."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                self._read(child, child.name, in_class=True, handed=_holds_a_connection(child))
            elif isinstance(child, Function):
                known = Known(child.lineno, handed or _is_handed(child))
                for part in (part for line in child.body for part in outside_commits(line)):
                    self._note(known, owner, part)
                self.functions[self.module, f"{owner}.{child.name}" if in_class else child.name] = known
                self._read(child, owner, in_class=False, handed=handed)
            else:
                self._read(child, owner, in_class=in_class, handed=handed)

    def _note(self, known: Known, owner: str | None, part: ast.AST) -> None:
        if isinstance(part, ast.Subscript) and isinstance(part.slice, ast.Constant):
            group = self._groups.get(dotted(part.value)) or loaded_group(part.value)
            if group:
                known.statements.append(f"{group}.{part.slice.value}")
        elif isinstance(part, ast.Name):
            known.uses.append(self._imported.get(part.id, (self.module, part.id)))
        elif isinstance(part, ast.Attribute) and dotted(part.value) == "self":
            known.uses.append((self.module, f"{owner}.{part.attr}"))
        elif isinstance(part, ast.Attribute):
            module, inside = self._imported.get(dotted(part.value), ("", ""))
            known.uses.append(("" if inside else module, part.attr))


def _is_handed(node: Function) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return any(each in ast.unparse(one.annotation) for one in arguments if one.annotation for each in HANDED)


def _holds_a_connection(node: ast.ClassDef) -> bool:
    return any(
        each.name == "__init__" and _is_handed(each) for each in node.body if isinstance(each, Function)
    )


def unnamed_writes(modules: Mapping[str, str], writers: Collection[str]) -> list[str]:
    """Functions that write outside a named commit on a connection that nobody gave them."""
    known: dict[Name, Known] = {}
    for module, source in modules.items():
        known |= Module(module, source).functions
    guilty = {
        name: wrote[0]
        for name, each in known.items()
        if (wrote := [statement for statement in each.statements if statement in writers])
    }
    more = guilty
    while more:
        # Who is not handed its connection is where it ends: that one is told of.
        handed = {name for name in guilty if known[name].handed}
        methods = {("", name.rpartition(".")[2]) for _, name in handed if "." in name}
        more = {
            name: f"by {used[1]}"
            for name, each in known.items()
            if name not in guilty
            for used in each.uses
            if used in handed or used in methods
        }
        guilty |= more
    return sorted(
        f"{module}.{name}, line {known[module, name].line}, writes outside a named commit ({why}): use "
        "database.transaction(name) or committing(connection, name)"
        for (module, name), why in guilty.items()
        if not known[module, name].handed
    )


def nameless_transactions(source: str) -> list[tuple[int, str]]:
    """``connection.transaction()``: a commit without a name. One that may only read commits nothing."""
    return [
        (node.lineno, "a commit has a name: committing(connection, name)")
        for node in nodes(source)
        if isinstance(node, ast.Call)
        and _called(node) == "transaction"
        and not node.args
        and "readonly=True" not in [ast.unparse(each) for each in node.keywords]
    ]


def product() -> list[Path]:
    """What commits: fault runs write with the owner's rights, and nobody crashes there."""
    return [file for file in sources(*PACKAGES) if NOT_THE_PRODUCT not in file.as_posix()]


def test_every_write_is_in_a_named_commit() -> None:
    modules = {
        file.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): file.read_text()
        for file in product()
    }
    writers = {
        f"{group}.{name}"
        for group in statements.groups()
        for name, sql in statements.load(group).items()
        if WRITES.search(sql)
    }
    assert writers
    found = unnamed_writes(modules, writers)
    assert not found, "\n" + "\n".join(found)


def test_every_commit_has_a_name() -> None:
    check([file for file in product() if file.name != "commits.py"], nameless_transactions)


def test_a_name_is_one_place() -> None:
    """So that a sweep which has died at a name has died at that place."""
    found = places()
    doubled = sorted({a.name for a, b in pairwise(found) if (a.act, a.name) == (b.act, b.name)})
    assert not doubled, f"give each its own name: {doubled}"
    assert len(names()) >= POINTS_MIN


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("async with self.database.connection() as c:\n   await save(c)", True),
        ("async with self.database.transaction('a') as c:\n   await save(c)", False),
        ("async with self.database.connection() as c, committing(c, 'a'):\n   await save(c)", False),
        ("async with self.database.connection() as c:\n   await self.later(c)", True),
        ("await self.database.run('a', lambda c: save(c))", False),
        ("await self.database.run('a', save)\n  await self.database.run('b', partial(rows.save, 1))", False),
        ("await elsewhere.run('a', save)", True),
        ("async with self.database.connection() as c:\n   await rows.save(c)", True),
        ("async with self.database.connection() as c:\n   await c.execute(_SQL['write'])", True),
        ("async with self.database.connection() as c:\n   await c.execute(_SQL['read'])", False),
        ("await thing.later(1)", True),
    ],
)
def test_unnamed_writes_are_found(body: str, wrong: bool) -> None:
    rows = "_SQL = load('g')\nasync def save(c: Connection):\n await c.execute(_SQL['write'])"
    source = (
        "from storage import market as rows\nfrom storage.market import save\n_SQL = load('g')\nclass A:\n"
        " async def later(self, c: Connection):\n  await save(c)\n"
        f" async def job(self):\n  {body}\n"
    )
    found = unnamed_writes({"storage.market": rows, "workers.a": source}, {"g.write"})
    assert [each.partition(",")[0] for each in found] == ["workers.a.A.job"] * wrong


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("committing(c, 'a.b')", ["commit a.b"]),
        (
            "x.database.transaction('a')\nself._database.run('b', work)\nsupervisor.run(spec)",
            ["commit a", "commit b"],
        ),
        (
            "Operation('get', 'GET', '/x', Kind.READ)\nwith calling('t.start'):\n pass",
            ["call get", "call t.start"],
        ),
    ],
)
def test_names_are_read_from_the_source(source: str, found: list[str]) -> None:
    assert [f"{each.act} {each.name}" for each in places_in(source, "a.py")] == found


@pytest.mark.parametrize("source", ["committing(c, name)", "database.run(f'a.{b}', work)", "calling(NAME)"])
def test_a_name_that_is_computed_is_refused(source: str) -> None:
    with pytest.raises(DynamicName):
        list(places_in(source, "a.py"))
