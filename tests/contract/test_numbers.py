"""The suite's own rule: every case has a number, and no number is used twice."""

import re
from pathlib import Path

NUMBERED = re.compile(r"^(?:async )?def test_(c\d{3})_\w+", re.MULTILINE)
ANY_TEST = re.compile(r"^(?:async )?def test_\w+", re.MULTILINE)


def test_every_case_is_numbered_once_and_in_order() -> None:
    seen: list[str] = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path.name == Path(__file__).name:
            continue
        text = path.read_text()
        numbers = NUMBERED.findall(text)
        assert len(numbers) == len(ANY_TEST.findall(text)), f"{path.name} has a case without a number"
        assert numbers == sorted(numbers), f"{path.name} is out of order"
        seen += numbers
    assert len(seen) == len(set(seen))
    assert seen
