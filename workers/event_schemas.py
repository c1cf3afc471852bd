"""docs/schemas/, written from the payload models: ``python -m workers.event_schemas [FOLDER]``.

A schema that is there is replaced only by one that may follow it; what would break is named, and nothing written.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from schemas.compatibility import incompatibilities
from schemas.event_documents import documents, schema_file, topic_schema
from schemas.events import PAYLOADS

FOLDER: Final = Path(__file__).parents[1] / "docs" / "schemas"
EXIT_BREAKS: Final = 1
EXIT_USAGE: Final = 2


def text_of(document: dict[str, Any]) -> str:
    """A file's content."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def breaking_changes(folder: Path) -> list[str]:
    """What the models of this release would break of the schemas in ``folder``."""
    found = []
    for topic in PAYLOADS:
        file = folder / schema_file(topic)
        if file.exists():
            found += incompatibilities(topic.value, json.loads(file.read_text("utf-8")), topic_schema(topic))
    known = {schema_file(topic) for topic in PAYLOADS}
    gone = [file.stem for file in sorted(folder.glob("*.*.json")) if file.name not in known]
    return found + [f"{topic}: the topic was removed: readers count on it" for topic in gone]


def main(arguments: Sequence[str]) -> int:
    """Write the folder; 0 done, 1 a change would break somebody, 2 wrong usage."""
    if len(arguments) > 1:
        sys.stderr.write("usage: python -m workers.event_schemas [FOLDER]\n")
        return EXIT_USAGE
    folder = Path(arguments[0]) if arguments else FOLDER
    if breaks := breaking_changes(folder):
        sys.stderr.write("an event payload may only grow by optional fields:\n")
        sys.stderr.writelines(f"  {each}\n" for each in breaks)
        return EXIT_BREAKS
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents().items():
        (folder / name).write_text(text_of(document), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
