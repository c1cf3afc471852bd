"""Which audit rows each named commit can write: the code that it reaches, followed by name through our modules."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from risk.limit_changes import LimitsDecision
from tests.tidy.tree import ROOT, Function, dotted, parse
from workers.chaos.points import NOT_THE_PRODUCT, PACKAGES, places_in

DECISION: Final = "decision"
"""What a parameter is called that ends up in an audit row's column of that name."""
WRITER: Final = ("storage.events", "append")

THROUGH: Final = frozenset({"storage.transitions:step.decision"})
"""Where a word is handed on that another place has said."""
SAID_ELSEWHERE: Final[Mapping[str, tuple[str, ...]]] = {
    "storage.limits:decision(standing.in_force, standing.lasting, document).value": tuple(LimitsDecision),
    # It ends what never left: by a refusal of the workflow, or by a cancel.
    "activities.order_end:end.status.value": ("REJECTED", "CANCELED"),
    # Of `workflows.kill_switch`, which decides and writes nothing.
    "activities.kill_switch:note.decision": ("RELEASE_REFUSED", "RELEASE_BY_SIGNAL_REFUSED"),
}
"""Expressions that are a word which the source does not say there."""

Name = tuple[str, str]
"""(module, function or Class.method)."""


@dataclass
class Code:
    """One function: what it uses, and the words that it gives to an audit row."""

    node: ast.AST
    name: Name
    owner: str | None
    parameters: tuple[str, ...] = ()
    types: dict[str, set[str]] = field(default_factory=dict)
    """Local name, or attribute of self → what its annotation or its first value names."""
    uses: set[Name] = field(default_factory=set)
    words: set[str] = field(default_factory=set)

    @property
    def module(self) -> str:
        return self.name[0]


class Product:
    """Every function of the product, by name."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.functions: dict[Name, Code] = {}
        self._types: dict[Name, dict[str, set[str]]] = {}
        """(module, class) → its attributes' types."""
        self._imports: dict[str, dict[str, Name]] = {}
        self._trees = {module: parse(source) for module, source in sources.items()}
        for module, tree in self._trees.items():
            self._imports[module] = dict(_imported(tree, sources))
            self._find(tree, module, None)
        self._callers: dict[Name, list[tuple[ast.Call, Code]]] = {}
        for code in self.functions.values():
            nodes = list(ast.walk(code.node))
            code.uses = set(self._uses(nodes, code))
            for call in (each for each in nodes if isinstance(each, ast.Call)):
                for name in self.meant(call.func, code):
                    self._callers.setdefault(name, []).append((call, code))
        for code in self.functions.values():
            code.words = set(self._words(code.node, code))

    def _find(self, node: ast.AST, module: str, owner: str | None) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                self._types.setdefault((module, child.name), {}).update(_assigned(child))
                self._find(child, module, child.name)
                continue
            if isinstance(child, Function):
                arguments = [*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs]
                parameters = tuple(each.arg for each in arguments if each.arg != "self")
                is_method = owner is not None and isinstance(node, ast.ClassDef)
                name = f"{owner}.{child.name}" if is_method else child.name
                self.functions[module, name] = Code(
                    child, (module, name), owner, parameters, _assigned(child)
                )
            self._find(child, module, owner)

    def _uses(self, nodes: Iterable[ast.AST], code: Code) -> Iterator[Name]:
        for each in nodes:
            if isinstance(each, ast.Name | ast.Attribute):
                yield from self.meant(each, code)

    def meant(self, node: ast.expr, code: Code) -> list[Name]:
        """The functions that an expression may name."""
        imports = self._imports[code.module]
        if isinstance(node, ast.Name):
            found = imports.get(node.id, (code.module, node.id))
            return [found] if found in self.functions else []
        if not isinstance(node, ast.Attribute):
            return []
        of = dotted(node.value)
        if of == "self" and (code.module, f"{code.owner}.{node.attr}") in self.functions:
            return [(code.module, f"{code.owner}.{node.attr}")]
        module, inside = imports.get(of, ("", ""))
        if module and not inside:
            return [(module, node.attr)] if (module, node.attr) in self.functions else []
        own = self._types.get((code.module, code.owner or ""), {})
        named = own.get(of, set()) | code.types.get(of, set())
        classes = [imports.get(name, (code.module, name)) for name in named]
        methods = [(module, f"{name}.{node.attr}") for module, name in classes]
        return [each for each in methods if each in self.functions]

    def _words(self, node: ast.AST, code: Code) -> Iterator[str]:
        for call in (each for each in ast.walk(node) if isinstance(each, ast.Call)):
            yield from (
                word
                for keyword in call.keywords
                if keyword.arg == DECISION
                for word in self._told(keyword.value, code)
            )
            for name in self.meant(call.func, code):
                parameters = self.functions[name].parameters
                if DECISION in parameters and parameters.index(DECISION) < len(call.args):
                    yield from self._told(call.args[parameters.index(DECISION)], code)

    def _told(self, node: ast.expr, code: Code) -> Iterator[str]:
        """The words that an expression can be; ``?…`` for one that the source does not say."""
        match node:
            case ast.Constant(value=str() as word):
                yield word
            case ast.JoinedStr(values=[ast.Constant(value=str() as start), *_]):
                yield f"{start}*"
            case ast.IfExp(body=one, orelse=other):
                yield from self._told(one, code)
                yield from self._told(other, code)
            case ast.Name(id=name) if name in code.parameters:
                return
            case ast.Name(id=name):
                values = [
                    each.value
                    for each in ast.walk(code.node)
                    if isinstance(each, ast.Assign) and name in map(dotted, each.targets)
                ]
                yield from (word for value in values for word in self._told(value, code))
                if not values:
                    yield f"?{code.module}:{name}"
            case ast.Call(func=function) if self.meant(function, code):
                for name in self.meant(function, code):
                    returned = [
                        each.value
                        for each in ast.walk(self.functions[name].node)
                        if isinstance(each, ast.Return)
                    ]
                    yield from (
                        word
                        for value in returned
                        if value is not None
                        for word in self._told(value, self.functions[name])
                    )
            case ast.Subscript(value=ast.Name(id=table)) if rows := _table(self._trees[code.module], table):
                yield from (word for value in rows for word in self._told(value, code))
            case ast.Subscript():
                return  # What stands in a row was written before.
            case _:
                yield f"?{code.module}:{ast.unparse(node)}"

    def commits(self) -> Iterator[tuple[str, set[str], bool]]:
        """Each commit's name, the words of the rows that it can write, and whether it can write any.

        What its function has made before it is opened counts too, and what those give it who call that function.
        """
        for code in self.functions.values():
            for node in _own(code.node):
                for name, body in _opened(node):
                    words, writes = self._reached(body, code)
                    words |= code.words | set(self._given(code))
                    known = {word for word in words if not word.startswith("?")}
                    said = known | _said(words) or {f"? {name}: nothing says which row"}
                    yield name, said if writes else set(), writes

    def _given(self, to: Code) -> Iterator[str]:
        """The words that callers give to a function: as its decision, or within what they hand to it."""
        place = to.parameters.index(DECISION) if DECISION in to.parameters else None
        for call, code in self._callers.get(to.name, ()):
            for argument in call.args:
                yield from self._words(argument, code)
            if place is not None and place < len(call.args):
                yield from self._told(call.args[place], code)

    def _reached(self, body: Iterable[ast.AST], code: Code) -> tuple[set[str], bool]:
        words = {word for node in body for word in self._words(node, code)}
        waiting = {name for node in body for name in self._uses(ast.walk(node), code)}
        seen: set[Name] = set()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self.functions:
                continue
            seen.add(name)
            found = self.functions[name]
            words |= found.words
            waiting |= found.uses
        return words, WRITER in seen


def _assigned(node: ast.AST) -> dict[str, set[str]]:
    """What each name in it is an instance of, as far as an annotation or the call that makes it says."""
    found: dict[str, set[str]] = {}
    for each in ast.walk(node):
        if isinstance(each, Function):
            for one in [*each.args.posonlyargs, *each.args.args, *each.args.kwonlyargs]:
                if one.annotation is not None:
                    found.setdefault(one.arg, set()).update(_names(one.annotation))
        elif isinstance(each, ast.Assign | ast.AnnAssign) and each.value is not None:
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            for target in map(dotted, targets):
                value = each.value
                made = (
                    {dotted(value.func)} if isinstance(value, ast.Call) else found.get(dotted(value), set())
                )
                if isinstance(each, ast.AnnAssign):
                    made = made | _names(each.annotation)
                found.setdefault(target, set()).update(made)
    return found


def _names(annotation: ast.expr) -> set[str]:
    return set(re.findall(r"[A-Za-z_]\w*", ast.unparse(annotation)))


def _table(module: ast.AST, name: str) -> list[ast.expr]:
    """The values of a dict that stands in the module under that name."""
    for each in ast.iter_child_nodes(module):
        if isinstance(each, ast.Assign | ast.AnnAssign) and isinstance(each.value, ast.Dict):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            if name in map(dotted, targets):
                return each.value.values
    return []


def _said(words: Iterable[str]) -> set[str]:
    """What the source does not say, by the table of such places."""
    unknown = {word[1:] for word in words if word.startswith("?")} - THROUGH
    return {said for each in unknown for said in SAID_ELSEWHERE.get(each, (f"? {each}",))}


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in a function and in no function within it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function):
            yield child
            yield from _own(child)


def _opened(node: ast.AST) -> Iterator[tuple[str, list[ast.AST]]]:
    """The commit that a statement or call opens, and what runs in it."""
    if isinstance(node, ast.AsyncWith | ast.With):
        for item in node.items:
            if isinstance(item.context_expr, ast.Call):
                for place in places_in(ast.unparse(item.context_expr), "storage/database.py"):
                    if place.act == "commit":
                        yield place.name, list(node.body)
    elif isinstance(node, ast.Call) and dotted(node.func).endswith("database.run"):
        for place in places_in(ast.unparse(node), "storage/database.py"):
            yield place.name, list(node.args[1:])


def _imported(tree: ast.AST, sources: Mapping[str, str]) -> Iterator[tuple[str, Name]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield (
                    alias.asname or alias.name,
                    (inside, "") if inside in sources else (node.module, alias.name),
                )


def product(packages: Iterable[str] = (*PACKAGES, "audit", "workflows", "risk", "schemas")) -> Product:
    """The product as it is."""
    files = [file for package in packages for file in Path(ROOT / package).rglob("*.py")]
    return Product(
        {
            file.relative_to(ROOT)
            .with_suffix("")
            .as_posix()
            .replace("/", ".")
            .removesuffix(".__init__"): file.read_text()
            for file in files
            if NOT_THE_PRODUCT not in file.as_posix()
        }
    )
