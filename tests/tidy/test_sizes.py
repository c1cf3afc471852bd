"""Files and functions that a person can hold in the head."""

import ast

from tests.tidy.tree import ROOT, allowed, check, functions, sources

FILE_LINES_MAX = 400
FILE_LINES_ADVISED = 300
FUNCTION_LINES_MAX = 60
FUNCTION_LINES_ADVISED = 40


def length(node: ast.stmt) -> int:
    """Lines from ``def`` to the last one, docstring included, decorators not."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def too_long(
    source: str, file_max: int = FILE_LINES_MAX, function_max: int = FUNCTION_LINES_MAX
) -> list[tuple[int, str]]:
    """Files and functions over their limit."""
    found = []
    lines = len(source.splitlines())
    if lines > file_max and not allowed(source, "long", 1):
        found.append((1, f"{lines} lines, at most {file_max}: split the file by meaning"))
    found += [
        (node.lineno, f"{node.name} has {length(node)} lines, at most {function_max}: name its steps")
        for node in functions(source)
        if length(node) > function_max and not allowed(source, "long", node.lineno)
    ]
    return found


def test_no_file_and_no_function_is_too_long() -> None:
    """What is only over the advised size is printed: see it with ``pytest -rP tests/tidy/test_sizes.py``."""
    for file in sources():
        for line, text in too_long(file.read_text(), FILE_LINES_ADVISED, FUNCTION_LINES_ADVISED):
            print(f"advice: {file.relative_to(ROOT)}:{line}: {text}")
    check(sources(), too_long)


def body(lines: int) -> str:
    """A function of that many lines."""
    return "def work():\n" + "    pass\n" * (lines - 1)


def test_the_limits_bite_and_a_reason_lifts_them() -> None:
    assert too_long(body(FUNCTION_LINES_MAX)) == []
    assert [line for line, _ in too_long(body(FUNCTION_LINES_MAX + 1))] == [1]
    reasoned = "# tidy: long because the table is one thing\n"
    assert too_long(reasoned + "\n" + body(FUNCTION_LINES_MAX + 1)) == []
    assert too_long("\n" + reasoned + body(FUNCTION_LINES_MAX + 1)) == []
    assert len(too_long("\n# tidy: long because\n" + body(FUNCTION_LINES_MAX + 1))) == 1
    assert too_long("x = 1\n" * FILE_LINES_MAX) == []
    assert len(too_long("x = 1\n" * (FILE_LINES_MAX + 1))) == 1
    nested = "class A:\n" + "\n".join("    " + line for line in body(FUNCTION_LINES_MAX + 1).splitlines())
    assert len(too_long(nested)) == 1
