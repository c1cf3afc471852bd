"""``python -m workers.dashboards [FOLDER]`` writes the dashboards."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from workers.dashboards.boards import BOARDS

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"


def documents() -> dict[str, str]:
    """The text of each file, by name."""
    return {
        f"{board.uid}.json": json.dumps(board.document(), indent=1, ensure_ascii=False) + "\n"
        for board in BOARDS
    }


def main(arguments: Sequence[str]) -> int:
    """Write each file."""
    folder = Path(arguments[0]) if arguments else FOLDER
    for name, text in documents().items():
        (folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
