"""Amazon's Secrets Manager, by boto3: each path is the name of a secret that holds one JSON object."""

import threading
from dataclasses import dataclass
from typing import Any, Final

from pydantic import SecretStr

from security.secrets.errors import (
    SecretError,
    SecretMalformed,
    SecretMissing,
    SecretsRefused,
    SecretsUnreachable,
)
from security.secrets.port import StoredSecret, json_document

CONNECT_SECONDS: Final = 2
READ_SECONDS: Final = 3
AGAIN_STATUS: Final = 500
MISSING: Final = frozenset({"ResourceNotFoundException"})
AGAIN: Final = frozenset({
    "InternalServiceError", "InternalFailure", "ThrottlingException", "Throttling", "TooManyRequestsException",
    "RequestTimeout", "ServiceUnavailable", "RequestLimitExceeded",
})  # fmt: skip


@dataclass(frozen=True)
class AwsSettings:
    """Where the store is and who asks. ``repr`` shows no secret."""

    region: str
    endpoint_url: str | None = None
    """Of an endpoint of one's own network; None: the region's."""
    access_key: SecretStr | None = None
    """None: as Amazon gives rights to whatever runs there (role of the instance, task or pod)."""
    secret_key: SecretStr | None = None


class AwsSource:
    """``SecretSource``: the version that is ``AWSCURRENT``."""

    name = "aws"

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._made: Any = None

    def place(self, path: str) -> str:
        return f"aws secret {path}"

    def read(self, path: str) -> StoredSecret:
        """As the port."""
        place = self.place(path)
        with self._lock:
            answer = self._ask(place, path)
        if "SecretString" not in answer:
            raise SecretMalformed(f"{place}: it is binary")
        return json_document(place, answer.get("VersionId", ""), answer["SecretString"])

    def close(self) -> None:
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    def _ask(self, place: str, path: str) -> dict[str, Any]:
        # boto3 costs a third of a second: imported here.
        try:
            from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
        except ImportError:
            raise SecretsRefused("Secrets Manager needs: pip install 'trading-interface[aws]'") from None
        from botocore.exceptions import ConnectionError as NotConnected

        try:
            if self._made is None:
                self._made = self._client()
            answer: dict[str, Any] = self._made.get_secret_value(SecretId=path)
        except ClientError as error:
            raise _translated(place, error.response) from None
        except (HTTPClientError, NotConnected, OSError) as error:
            raise SecretsUnreachable(f"{place}: no answer: {type(error).__name__}") from None
        except BotoCoreError as error:
            # No credentials, or a region that is none.
            raise SecretsRefused(f"{place}: nothing was asked: {type(error).__name__}") from None
        return answer

    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        one = self._settings
        given = {}
        if one.access_key is not None and one.secret_key is not None:
            given = {
                "aws_access_key_id": one.access_key.get_secret_value(),
                "aws_secret_access_key": one.secret_key.get_secret_value(),
            }
        return boto3.session.Session().client(
            "secretsmanager",
            region_name=one.region,
            endpoint_url=one.endpoint_url,
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"total_max_attempts": 1},
            ),
            **given,
        )


def _translated(place: str, response: Any) -> SecretError:
    """By the service's code. Its text is left out: it may repeat who asked and for what."""
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    told = f"{place}: {code}"
    if code in MISSING:
        return SecretMissing(f"{place}: there is no secret of that name")
    if status >= AGAIN_STATUS or code in AGAIN:
        return SecretsUnreachable(told)
    # Not allowed, wrong or old signature, no right to decrypt, about to be deleted.
    return SecretsRefused(told)
