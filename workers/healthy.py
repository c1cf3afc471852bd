"""Ask a process whether it is ready: ``python -m workers.healthy URL``. For container health checks."""

import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Final

TIMEOUT_SECONDS: Final = 5.0
DETAIL_BYTES_MAX: Final = 300
EXIT_DONE, EXIT_REFUSED, EXIT_USAGE = 0, 1, 2


def problem(url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> str | None:
    """What is wrong there, None if it answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_seconds) as answer:  # noqa: S310 - http by the caller
            answer.read()
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}: {error.read(DETAIL_BYTES_MAX).decode(errors='replace')}"
    except OSError as error:
        return f"{url}: {error}"
    return None


def main(arguments: Sequence[str]) -> int:
    """0 ready, 1 not, 2 wrong usage."""
    if len(arguments) != 1 or not arguments[0].startswith("http://"):
        sys.stderr.write("usage: python -m workers.healthy http://HOST:PORT/readyz\n")
        return EXIT_USAGE
    found = problem(arguments[0])
    if found is not None:
        sys.stderr.write(f"{found}\n")
        return EXIT_REFUSED
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
