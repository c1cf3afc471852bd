"""SQL stands in ``storage/sql/*.sql`` for review; all of it is used; it takes the time as an argument."""

import ast
import re

import pytest

from storage import statements
from tests.tidy.tree import ROOT, allowed, check, docstrings, dotted, nodes, sources

STATEMENT = re.compile(
    r"^\s*(?:insert\s+into\s|delete\s+from\s|select\b[^;]*\sfrom\s|select\s+(?:\d|pg_|set_config)|update\s+\w+\s+set\s|"
    r"with\s+\w+\s+as\s*\(|(?:create|alter|drop)\s+(?:table|role|user|database|schema|index|extension)\s|"
    r"lock\s+table|truncate\s)",
    re.IGNORECASE,
)

DATABASE_CLOCK = re.compile(
    r"\b(?:now\s*\(|current_timestamp|current_date|current_time|localtimestamp|localtime|clock_timestamp\s*\(|"
    r"statement_timestamp\s*\(|transaction_timestamp\s*\()",
    re.IGNORECASE,
)

MAY_READ_THE_DATABASE_CLOCK = {
    "bus.claim": "a lease between consumers of several machines, whose clocks may differ",
    "bus.hold": "the same",
    "bus.wait_after_failure": "until when no consumer of any machine is given it",
    "clock.note_check": "when a machine was heard of whose own clock may be wrong",
    "clock.open_halt": "since when, by a clock that is not the wrong one",
    "clock.read_checks": "their age on the same clock",
    "placement.read_gate": "the age of what clocks have found, on the same clock",
    "halt.claim_probe": "one probe at a time of several machines, whose clocks may differ",
    "halt.open_halt": "from when the first probe is due, on the same clock",
    "budget.take": "counts the requests of all processes on one clock; a test gives its own",
    "budget.pause": "the same",
    "tokens.use_token": "counts the requests of all gateways on one clock; a test gives its own",
    "placement.write_intent": "sets posting_deadline, the one time that all processes read off one clock",
    "placement.database_time": "tells how far posting_deadline is away",
    "placement.unanswered_posts": "compares posting_deadline",
    "migrations.create_record": "notes when a migration was applied; no decision reads it",
    "placement.read_basis": "compares posting_deadline",
    "doubts.unknown_for": "compares posting_deadline",
    "risk.read_facts": "compares posting_deadline",
    "switches.all_unknown": "compares posting_deadline",
}
"""Statement and reason. Everything else takes ``$now`` (the clock that time skipping and replay move)."""


def sql_texts(source: str) -> list[tuple[int, str]]:
    """Text constants in Python that begin like an SQL statement."""
    documented = docstrings(source)
    return [
        (node.lineno, f"SQL in Python: put it into storage/sql under a name ({node.value.strip()[:40]!r})")
        for node in nodes(source)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documented
        and STATEMENT.search(node.value)
        and not allowed(source, "sql", node.lineno)
    ]


def named_statements() -> dict[str, str]:
    """``group.name`` → text, of every statement."""
    return {
        f"{group}.{name}": text
        for group in statements.groups()
        for name, text in statements.load(group).items()
    }


def without_comments(sql: str) -> str:
    """The statement itself."""
    return re.sub(r"--[^\n]*|/\*.*?\*/", "", sql, flags=re.DOTALL)


def used_names(source: str) -> set[str]:
    """Statements a module takes: ``_X = load("group")`` and then ``_X["name"]``, or both in one."""
    groups = {
        dotted(target): group
        for node in nodes(source)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if (group := loaded_group(node.value))
    }
    used = set()
    for node in nodes(source):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            group = groups.get(dotted(node.value)) or loaded_group(node.value)
            if group:
                used.add(f"{group}.{node.slice.value}")
    return used


def loaded_group(node: ast.expr) -> str:
    """``orders`` for ``load("orders")``, else nothing."""
    if isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] == "load" and node.args:
        argument = node.args[0]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return argument.value
    return ""


def test_no_sql_in_python() -> None:
    check(sources(), sql_texts)


def test_every_statement_is_used_and_every_used_one_exists() -> None:
    used = {name for file in sources() for name in used_names(file.read_text())}
    existing = set(named_statements())
    assert existing, "no statement found in storage/sql: this rule looks at the wrong folder"
    assert not existing - used, f"delete or use: {sorted(existing - used)}"
    assert not used - existing, f"missing in storage/sql: {sorted(used - existing)}"


def test_statement_names_are_unique() -> None:
    """A second statement of one name would silently replace the first."""
    doubled = []
    for group in statements.groups():
        text = (ROOT / "storage" / "sql" / f"{group}.sql").read_text()
        names = re.findall(r"^-- name: (\w+)\s*$", text, re.MULTILINE)
        doubled += [f"{group}.{name}" for name in names if names.count(name) > 1]
    assert not doubled, f"rename one of each: {sorted(set(doubled))}"


@pytest.mark.parametrize("name", sorted(named_statements()))
def test_time_is_an_argument(name: str) -> None:
    reads_clock = bool(DATABASE_CLOCK.search(without_comments(named_statements()[name])))
    if name in MAY_READ_THE_DATABASE_CLOCK:
        assert reads_clock, f"{name} no longer reads the database's clock: take it off the list in this file"
    else:
        assert not reads_clock, f"{name} reads the database's clock: pass $now from the activity instead"


def test_the_list_of_exceptions_names_statements() -> None:
    unknown = set(MAY_READ_THE_DATABASE_CLOCK) - set(named_statements())
    assert not unknown, f"no such statement any more, take it off the list in this file: {sorted(unknown)}"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("x = 'insert into orders values ($1)'", [1]),
        ("x = '''\n  SELECT a,\n b FROM orders'''", [1]),
        ("x = f'update {table} set a = 1'\ny = f'update orders set a = {b}'", [2]),
        ("await c.execute('create role ti')\nawait c.fetchval('select 1')", [1, 2]),
        ("def f():\n    '''Select an order from the book.'''", []),
        ("x = 'select an option'\ny = 'update the row, set by hand'\nz = 'with it'", []),
        ("x = 'select 1'  # tidy: sql because it only asks whether the server answers", []),
    ],
)
def test_sql_in_python_is_found(source: str, lines: list[int]) -> None:
    assert [line for line, _ in sql_texts(source)] == lines


def test_uses_are_found() -> None:
    source = """
_SQL: Final = load("orders")
_B = statements.load("risk")
f(_SQL["a"], _B["b"], load("c")["d"], e["f"])
"""
    assert used_names(source) == {"orders.a", "risk.b", "c.d"}


@pytest.mark.parametrize("text", ["now()", "NOW ()", "current_timestamp", "clock_timestamp()"])
def test_database_clocks_are_found(text: str) -> None:
    assert DATABASE_CLOCK.search(f"select {text}")
    assert not DATABASE_CLOCK.search(without_comments(f"-- not {text}\nselect known_at, $now"))
