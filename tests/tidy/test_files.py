"""Locks that name no host, links that lead somewhere, and no word of the machine a file was made on."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT, check, project_files, pyproject

RUNTIME_LOCK, DEV_LOCK = "requirements.lock", "requirements-dev.lock"
RUNTIME_EXTRAS = ("embedded", "build")
"""Extras that running on one machine needs; the others are for developing."""

TEXT_SUFFIXES = {
    "", ".py", ".md", ".toml", ".lock", ".sql", ".yml", ".yaml", ".json", ".sh", ".txt", ".cfg", ".ini",
    ".html", ".css", ".js", ".csv",
}  # fmt: skip

# Written in parts, so that this file does not find itself.
FORBIDDEN = {
    "/wor" + "k/": "a folder of one machine: use a path relative to the repository",
    "/roo" + "t/": "a folder of one machine: use a path relative to the repository or a setting",
    "py" + "pi.org": "a registry's host: pip finds it by its own configuration",
    "files.python" + "hosted": "a registry's host: make the lock file again with make lock",
    "registry.np" + "mjs": "a registry's host: vendor the file with its licence and sha256",
    "deb.de" + "bian": "a registry's host: apt finds it by its own configuration",
}

LINK = re.compile(r"(?<!\!)\[[^\]\n]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|!\[[^\]\n]*\]\(<?([^)\s>]+)>?\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def normalized(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    """``pydantic`` of ``pydantic>=2.14,<3``."""
    return normalized(re.split(r"[\s\[<>=!~;@]", requirement.strip(), maxsplit=1)[0])


def lock_faults(text: str) -> list[tuple[int, str]]:
    """Entries without a hash or an exact version, and addresses."""
    found = []
    joined: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if joined and joined[-1][1].endswith("\\"):
            joined[-1] = (joined[-1][0], joined[-1][1][:-1] + line)
        elif line.strip() and not line.lstrip().startswith("#"):
            joined.append((number, line))
        if "://" in line:
            found.append((number, "an address: make the lock again with make lock"))
    for number, entry in joined:
        if entry.lstrip().startswith("-"):
            found.append((number, "an option: whoever installs chooses the index"))
        elif "==" not in entry:
            found.append((number, "no exact version: make the lock again with make lock"))
        elif "--hash=sha256:" not in entry:
            found.append((number, "no hash: make the lock again with make lock"))
    return found


def locked(file: str) -> set[str]:
    """Names in a lock file."""
    lines = (ROOT / file).read_text().splitlines()
    return {requirement_name(line) for line in lines if re.match(r"[A-Za-z0-9]", line)}


def required(extras: Iterable[str]) -> set[str]:
    """Names that pyproject asks for."""
    project = pyproject()["project"]
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    return {requirement_name(requirement) for requirement in wanted}


@pytest.mark.parametrize("file", [RUNTIME_LOCK, DEV_LOCK])
def test_lock_files_pin_by_hash_and_name_no_host(file: str) -> None:
    assert locked(file)
    check([ROOT / file], lock_faults)


def test_the_runtime_lock_has_every_dependency() -> None:
    missing = required(RUNTIME_EXTRAS) - locked(RUNTIME_LOCK)
    assert not missing, f"not in {RUNTIME_LOCK}: {sorted(missing)}; make lock"


def test_the_development_lock_has_every_dependency_of_every_extra() -> None:
    missing = required(pyproject()["project"]["optional-dependencies"]) - locked(DEV_LOCK)
    assert not missing, f"not in {DEV_LOCK}: {sorted(missing)}; make lock"


def test_both_locks_agree() -> None:
    """Tests must run on the versions that are shipped."""

    def pins(file: str) -> set[str]:
        return set(re.findall(r"^([A-Za-z0-9._-]+==[^\s;\\]+)", (ROOT / file).read_text(), re.MULTILINE))

    other = pins(RUNTIME_LOCK) - pins(DEV_LOCK)
    assert not other, f"{DEV_LOCK} has other versions of {sorted(other)}; make lock"


def dead_links(file: Path, text: str) -> list[tuple[int, str]]:
    """Relative links of a Markdown file that lead to no file or heading."""
    found = []
    # Code is blanked, not removed: line numbers stay.
    prose = CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    for match in LINK.finditer(prose):
        target = match[1] or match[2]
        if re.match(r"[a-z][a-z0-9+.-]*:", target, re.IGNORECASE):
            continue
        path, _, anchor = target.partition("#")
        aim = (file.parent / path).resolve() if path else file
        line = prose.count("\n", 0, match.start()) + 1
        if not aim.exists():
            found.append((line, f"the link {target} leads to no file"))
        elif anchor and aim.suffix == ".md" and anchor not in headings(aim.read_text() if path else text):
            found.append((line, f"{aim.name} has no heading for #{anchor}"))
    return found


def headings(text: str) -> set[str]:
    """Anchors of the headings, as Git hosts make them."""
    titles = re.findall(
        r"^#{1,6}\s+(.*?)\s*#*$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_in_documents_lead_somewhere() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}: {text}"
        for file in project_files()
        if file.suffix == ".md"
        for line, text in dead_links(file, file.read_text())
    ]
    assert not found, "\n" + "\n".join(found)


def machine_names(text: str) -> list[tuple[int, str]]:
    """Lines with a path of one machine or a registry's host."""
    return [
        (number, f"{needle!r} is {remedy}")
        for number, line in enumerate(text.splitlines(), 1)
        for needle, remedy in FORBIDDEN.items()
        if needle in line
    ]


def test_no_file_names_the_machine_it_was_made_on() -> None:
    check([file for file in project_files() if file.suffix in TEXT_SUFFIXES and is_text(file)], machine_names)


def is_text(file: Path) -> bool:
    """Whether it can be read as UTF-8."""
    try:
        file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def test_faults_in_a_lock_are_found() -> None:
    good = (
        "a==1.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n"
        "b==2 ; python_version < '4' \\\n    --hash=sha256:02\n"
    )
    assert lock_faults(good) == []
    assert [line for line, _ in lock_faults(good + "c==3\n")] == [6]
    assert [line for line, _ in lock_faults(good + "c>=3 \\\n    --hash=sha256:03\n")] == [6]
    assert [line for line, _ in lock_faults("--index-url x\n" + good)] == [1]
    assert lock_faults("a @ https://example.com/a.whl \\\n    --hash=sha256:00\n")


def test_dead_links_are_found() -> None:
    file = ROOT / "README.md"
    text = "# One Thing!\n[a](pyproject.toml) [b](#one-thing) [c](https://example.com/x) `[d](gone.md)`\n"
    assert dead_links(file, text) == []
    bad = "[a](gone.md)\n![b](gone.png)\n[c](#gone)\n[d](pyproject.toml#anything)\n"
    assert [line for line, _ in dead_links(file, text + bad)] == [3, 4, 5]


@pytest.mark.parametrize("needle", FORBIDDEN)
def test_machine_names_are_found(needle: str) -> None:
    assert [line for line, _ in machine_names(f"fine\nsee {needle}x\n")] == [2]


@pytest.mark.parametrize(
    "requirement", ["asyncpg-stubs>=0.32", "asyncpg_stubs==1; x", "Asyncpg.Stubs[a]", "asyncpg-stubs"]
)
def test_requirement_names_are_compared_as_indexes_do(requirement: str) -> None:
    assert requirement_name(requirement) == "asyncpg-stubs"
