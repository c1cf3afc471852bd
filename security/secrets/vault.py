"""HashiCorp Vault and OpenBao, by hvac: version 2 of the key-value engine, by AppRole or with a token."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from security.secrets.errors import (
    SecretError,
    SecretMalformed,
    SecretMissing,
    SecretsRefused,
    SecretsUnreachable,
)
from security.secrets.port import StoredSecret, document, redacted

CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 3.0
RENEW_AT: Final = 2 / 3
"""Of a token's life: then it is renewed, or another one fetched."""
NEVER: Final = float("inf")


@dataclass(frozen=True)
class VaultSettings:
    """Where the store is and who asks. With ``role_id`` by AppRole, else with a token. ``repr`` shows no secret."""

    address: str
    """``https://HOST:PORT``."""
    mount: str = "secret"
    """Of the key-value engine."""
    role_mount: str = "approle"
    namespace: str | None = None
    ca_file: Path | None = None
    """Of the authority that signed the store's certificate; None: those of the system."""
    role_id: str | None = None
    credential: Callable[[], SecretStr | None] = lambda: None
    """The role's secret id or the token, as it is now: who mounts it may replace it."""


class VaultSource:
    """``SecretSource``. Holds a token for as long as it lives, and fetches the next one by itself."""

    name = "vault"

    def __init__(self, settings: VaultSettings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._client: Any = None
        self._renew_at = NEVER
        self._dies_at = NEVER
        self._life = 0.0
        self._renewable = False

    def place(self, path: str) -> str:
        return f"vault {self._settings.mount}/{path}"

    def read(self, path: str) -> StoredSecret:
        """As the port. A token that died or was revoked is replaced, where there is a role to do it with."""
        with self._lock:
            fresh = self._ensure_token()
            try:
                return self._read(path)
            except SecretsRefused:
                if fresh or self._settings.role_id is None:
                    raise
            self._log_in()
            return self._read(path)

    def close(self) -> None:
        """Revoke a token that was ours alone."""
        with self._lock:
            if self._client is None:
                return
            if self._settings.role_id is not None and self._client.token:
                with suppress(Exception):  # It ends by itself too, later.
                    self._client.auth.token.revoke_self()
            self._client.session.close()
            self._client = None

    def _read(self, path: str) -> StoredSecret:
        place = self.place(path)
        with _translated(place):
            answer = self._client.secrets.kv.v2.read_secret_version(
                path=path, mount_point=self._settings.mount, raise_on_deleted_version=True
            )
        try:
            data, version = answer["data"]["data"], answer["data"]["metadata"]["version"]
        except (KeyError, TypeError):
            raise SecretMalformed(f"{place}: no answer of a key-value engine of version 2") from None
        return document(place, version, data)

    def _ensure_token(self) -> bool:
        """Whether it is a new one."""
        now = self._monotonic()
        if self._client is None:
            self._client = _client(self._settings)
        if not self._client.token:
            self._log_in()
            return True
        if now < self._renew_at:
            return False
        if now < self._dies_at and self._renewable and self._renewed():
            return False
        self._log_in()
        return True

    def _renewed(self) -> bool:
        """Whether it lives on: near the end of what a role may have a renewal adds little, and a new one is due."""
        try:
            with _translated("vault: renewal of the token"):
                auth = _auth(self._client.auth.token.renew_self())
        except SecretsRefused:
            return False
        whole = self._life
        self._lives(auth["lease_duration"], renewable=auth["renewable"])
        enough: bool = auth["lease_duration"] == 0 or auth["lease_duration"] >= whole / 2
        self._life = whole
        return enough

    def _log_in(self) -> None:
        """By the role, or look at the token that was given.

        Raises:
            SecretsRefused, SecretsUnreachable
        """
        settings, credential = self._settings, self._settings.credential()
        if credential is None:
            raise SecretsRefused(
                "vault: TRADING_VAULT_SECRET_ID, with a role, or TRADING_VAULT_TOKEN is needed"
            )
        if settings.role_id is None:
            self._look_at(credential)
            return
        self._client.token = None
        with _translated(f"vault: login by AppRole at {settings.role_mount}"):
            auth = _auth(
                self._client.auth.approle.login(
                    role_id=settings.role_id,
                    secret_id=credential.get_secret_value(),
                    mount_point=settings.role_mount,
                )
            )
        redacted(self._client.token)
        self._lives(auth["lease_duration"], renewable=auth["renewable"])

    def _look_at(self, token: SecretStr) -> None:
        self._client.token = token.get_secret_value()
        try:
            with _translated("vault: the token"):
                found = self._client.auth.token.lookup_self()["data"]
                seconds = float(found["ttl"])
        except SecretError:
            self._client.token = None
            raise
        self._lives(seconds, renewable=found.get("renewable", False))

    def _lives(self, seconds: float, *, renewable: bool) -> None:
        now = self._monotonic()
        self._life, self._renewable = seconds, renewable
        # 0: for ever, as a root token does.
        self._renew_at = now + seconds * RENEW_AT if seconds else NEVER
        self._dies_at = now + seconds if seconds else NEVER


def _auth(answer: Any) -> Any:
    """What an answer says of a token. Raises KeyError, TypeError, ValueError: it says nothing."""
    auth = answer["auth"]
    return {"lease_duration": float(auth["lease_duration"]), "renewable": bool(auth["renewable"])}


def _client(settings: VaultSettings) -> Any:
    """Without a token yet. hvac costs a tenth of a second: imported here."""
    try:
        import hvac
    except ImportError:
        raise SecretsRefused("a vault needs: pip install 'trading-interface[vault]'") from None
    import requests

    session = requests.Session()
    # Neither a proxy nor a .netrc of the environment, and no other authorities than those named.
    session.trust_env = False
    verify: bool | str = str(settings.ca_file) if settings.ca_file is not None else True
    session.verify = verify
    client = hvac.Client(
        url=settings.address,
        token="",
        verify=verify,
        timeout=(CONNECT_SECONDS, READ_SECONDS),
        allow_redirects=False,
        session=session,
        namespace=settings.namespace,
    )
    client.token = None
    return client


@contextmanager
def _translated(place: str) -> Iterator[None]:
    """hvac's errors by meaning. Their texts are left out: they repeat what was asked and answered."""
    import requests
    from hvac import exceptions

    try:
        yield
    except exceptions.InvalidPath:
        raise SecretMissing(f"{place}: nothing is stored there") from None
    except (exceptions.Forbidden, exceptions.Unauthorized, exceptions.InvalidRequest) as error:
        # A wrong role or secret id is an invalid request.
        told = {400: "not accepted", 401: "not accepted", 403: "not allowed"}
        raise SecretsRefused(f"{place}: {told[_status(error)]}") from None
    except (exceptions.VaultError, ValueError, KeyError, TypeError, AttributeError) as error:
        # Sealed, standby, rate-limited, 5xx, or no answer of a vault at all: a redirect, a page of something else.
        raise SecretsUnreachable(f"{place}: {type(error).__name__}") from None
    except (requests.RequestException, OSError) as error:
        raise SecretsUnreachable(f"{place}: no answer: {type(error).__name__}") from None


def _status(error: Exception) -> int:
    from hvac import exceptions

    if isinstance(error, exceptions.Forbidden):
        return 403
    return 401 if isinstance(error, exceptions.Unauthorized) else 400
