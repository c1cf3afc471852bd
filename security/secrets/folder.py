"""Secrets as files, for an exchange on this machine: made at the first start, mode 0600, one text in each."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from security.secrets.errors import SecretMissing, SecretsRefused
from security.secrets.port import StoredSecret, document


class FolderSource:
    """``SecretSource`` over a folder of secret files. A path names several files, which are read together.

    Two files are not replaced at once: whoever reads between the two gets a pair that does not belong together,
    and must try it before it uses it.
    """

    name = "embedded"

    def __init__(self, folder: Path, paths: Mapping[str, Sequence[str]], *, prefix: str) -> None:
        """``paths``: path → its fields; a field's file is ``prefix`` + its name."""
        self._folder = folder
        self._paths = paths
        self._prefix = prefix

    def place(self, path: str) -> str:
        return f"the folder of secrets ({path})"

    def read(self, path: str) -> StoredSecret:
        """As the port; the version is a digest of the content."""
        place = self.place(path)
        content = {name: self._text(place, name) for name in self._paths[path]}
        digest = hashlib.sha256("\0".join(content.values()).encode()).hexdigest()
        return document(place, digest[:12], content)

    def close(self) -> None:
        """Nothing is held."""

    def _text(self, place: str, name: str) -> str:
        try:
            return (self._folder / f"{self._prefix}{name}").read_text("utf-8").strip()
        except FileNotFoundError:
            raise SecretMissing(f"{place}: there is no file {self._prefix}{name}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise SecretsRefused(f"{place}: {self._prefix}{name}: {type(error).__name__}") from None
