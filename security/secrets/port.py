"""Where secrets come from: one document of named texts at each path, whole and of one version.

Two secrets that belong together stand in one document, so that a rotation changes both at once.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pydantic import SecretStr

from observability.redaction import SECRET_LENGTH_MIN, register_secret
from security.secrets.errors import SecretMalformed, SecretMissing

FIELD_LENGTH_MAX: Final = 64_000
"""A secret of Secrets Manager holds no more."""
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class StoredSecret:
    """What stands at a path. ``repr`` shows no value."""

    place: str
    """Source and path, for messages."""
    version: str
    """The store's own name of this content; another content has another."""
    fields: Mapping[str, SecretStr] = field(repr=False)

    def text(self, name: str) -> SecretStr:
        """One field.

        Raises:
            SecretMissing: it is not there.
        """
        found = self.fields.get(name)
        if found is None:
            raise SecretMissing(f"{self.place}: it has no field {name}")
        return found


class SecretSource(Protocol):
    """Blocks; `SecretReader` calls it in a thread. May be called by one thread at a time."""

    name: str
    """``vault``, ``aws`` or ``embedded``."""

    def place(self, path: str) -> str:
        """How messages name that path."""
        ...

    def read(self, path: str) -> StoredSecret:
        """What stands there now.

        Raises:
            SecretError: by what it means.
        """
        ...

    def close(self) -> None:
        """Give back what the store has given us to ask with. Never raises."""
        ...


def document(place: str, version: object, content: object) -> StoredSecret:
    """Check what a store gave.

    Raises:
        SecretMalformed: no object of texts with plain names.
    """
    if not isinstance(content, dict):
        raise SecretMalformed(f"{place}: not an object of named texts")
    for name, value in content.items():
        if not isinstance(name, str) or not _FIELD.fullmatch(name):
            # Not shown: whoever got the shape wrong may have put a secret there.
            raise SecretMalformed(f"{place}: a field has no plain name (small letters, digits, underscores)")
        if not isinstance(value, str) or not value.strip() or len(value) > FIELD_LENGTH_MAX:
            raise SecretMalformed(f"{place}: the field {name} is no text, or an empty one")
    # Whoever stores a file's content stores the end of its last line too.
    texts = {name: value.strip() for name, value in content.items()}
    for value in texts.values():
        redacted(value)
    return StoredSecret(place, str(version), {name: SecretStr(value) for name, value in texts.items()})


def redacted(value: str) -> None:
    """Have a secret that has just come cut out of whatever leaves this process."""
    if len(value.strip()) >= SECRET_LENGTH_MIN:
        register_secret(value)


def json_document(place: str, version: object, text: object) -> StoredSecret:
    """The same of a JSON text. Raises SecretMalformed."""
    try:
        content: Any = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        raise SecretMalformed(f"{place}: not JSON") from None
    return document(place, version, content)
