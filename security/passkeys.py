"""Passkeys (WebAuthn): what an authenticator is asked, and whether its answer proves that the person is there."""

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import webauthn
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

CHALLENGE_BYTES: Final = 32
TIMEOUT_MS: Final = 120_000
ANSWER_CHARACTERS_MAX: Final = 32 * 1024
_MALFORMED: Final = (
    WebAuthnException, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError,
    RecursionError, struct.error,
)  # fmt: skip
"""What the library raises on an answer that is none, its own errors and its parsers'."""


class PasskeyRefused(Exception):
    """The answer proves nothing; the message says why, for the audit log."""


@dataclass(frozen=True)
class Registered:
    """A new credential."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


class Passkeys:
    """One relying party: where the console is, as browsers see it."""

    def __init__(self, origin: str, rp_id: str, rp_name: str = "trading-interface") -> None:
        """``origin`` as browsers send it, e.g. ``https://console.example.com``; ``rp_id`` its host, or a parent."""
        self._origin = origin
        self._rp_id = rp_id
        self._rp_name = rp_name

    def ask_to_register(
        self, person_id: UUID, name: str, known: Sequence[bytes]
    ) -> tuple[bytes, dict[str, Any]]:
        """A fresh challenge, and the options that a browser's ``navigator.credentials.create`` takes as JSON."""
        challenge = os.urandom(CHALLENGE_BYTES)
        options = webauthn.generate_registration_options(
            rp_id=self._rp_id,
            rp_name=self._rp_name,
            user_id=person_id.bytes,
            user_name=name,
            challenge=challenge,
            timeout=TIMEOUT_MS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=each) for each in known],
        )
        return challenge, json.loads(webauthn.options_to_json(options))

    def ask_to_sign_in(self, known: Sequence[bytes]) -> tuple[bytes, dict[str, Any]]:
        """A fresh challenge, and the options for ``navigator.credentials.get``."""
        challenge = os.urandom(CHALLENGE_BYTES)
        options = webauthn.generate_authentication_options(
            rp_id=self._rp_id,
            challenge=challenge,
            timeout=TIMEOUT_MS,
            allow_credentials=[PublicKeyCredentialDescriptor(id=each) for each in known],
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return challenge, json.loads(webauthn.options_to_json(options))

    def check_registration(self, answer: dict[str, Any], challenge: bytes) -> Registered:
        """The credential in a browser's answer.

        Raises:
            PasskeyRefused: wrong origin, relying party or challenge, nobody verified, or malformed.
        """
        try:
            found = webauthn.verify_registration_response(
                credential=answer,
                expected_challenge=challenge,
                expected_rp_id=self._rp_id,
                expected_origin=self._origin,
                require_user_verification=True,
            )
        except _MALFORMED as error:
            raise PasskeyRefused(_told(error)) from error
        return Registered(found.credential_id, found.credential_public_key, found.sign_count)

    def check_sign_in(
        self, answer: dict[str, Any], challenge: bytes, person_id: UUID, public_key: bytes, sign_count: int
    ) -> int:
        """The authenticator's new counter.

        Raises:
            PasskeyRefused: as `check_registration`; also another key's signature, a counter that has not grown, or
                another person's handle.
        """
        try:
            handle = answer["response"].get("userHandle")
            if handle is not None and base64url_to_bytes(handle) != person_id.bytes:
                raise PasskeyRefused("the passkey is another person's")
            found = webauthn.verify_authentication_response(
                credential=answer,
                expected_challenge=challenge,
                expected_rp_id=self._rp_id,
                expected_origin=self._origin,
                credential_public_key=public_key,
                credential_current_sign_count=sign_count,
                require_user_verification=True,
            )
        except _MALFORMED as error:
            raise PasskeyRefused(_told(error)) from error
        return found.new_sign_count


def credential_id_of(answer: dict[str, Any]) -> bytes:
    """Which credential an answer says it is of.

    Raises:
        PasskeyRefused: it says none.
    """
    try:
        return base64url_to_bytes(str(answer["rawId"]))
    except (KeyError, ValueError) as error:
        raise PasskeyRefused("no credential in it") from error


def _told(error: Exception) -> str:
    """Why, in at most a line."""
    text = str(error) if isinstance(error, WebAuthnException) else f"malformed: {type(error).__name__}"
    return text.splitlines()[0][:200] if text else type(error).__name__
