"""Every way a secret can be had not. A message names the source, the path and the field, and never a value.

SecretError
├── SecretsUnreachable     no answer, or one that may be another later: try again
├── SecretsRefused         who we are is not accepted, or may not read this
├── SecretMissing          there is nothing at that path, or not that field
└── SecretMalformed        what is there is not what was agreed on
"""

from typing import ClassVar


class SecretError(Exception):
    """A secret could not be read."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SecretsUnreachable(SecretError):
    """The store does not answer, is sealed, or is busy."""

    retryable = True


class SecretsRefused(SecretError):
    """The store does not know us, or its policy does not let us read this."""


class SecretMissing(SecretError):
    """Nothing is stored there."""


class SecretMalformed(SecretError):
    """What is stored there has a wrong shape."""
