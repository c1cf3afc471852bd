"""Opens the store that the settings name."""

import os
from pathlib import Path

from pydantic import SecretStr

from security.secrets.aws import AwsSettings, AwsSource
from security.secrets.folder import FolderSource
from security.secrets.port import SecretSource
from security.secrets.settings import (
    BROKER_DOCUMENT,
    BROKER_FIELDS,
    ENV_PREFIX,
    SECRETS_DIR_VARIABLE,
    StoreSettings,
)
from security.secrets.vault import VaultSettings, VaultSource


def open_source(store: StoreSettings, folder: str | None = None) -> SecretSource | None:
    """The store that ``store`` names. None: secrets came as environment variables, which nothing can rotate."""
    folder = folder or os.environ.get(SECRETS_DIR_VARIABLE)
    match store.secret_source:
        case "vault":
            assert store.vault_address is not None, "the settings refuse it"
            return VaultSource(
                VaultSettings(
                    address=store.vault_address,
                    mount=store.vault_mount,
                    role_mount=store.vault_role_mount,
                    namespace=store.vault_namespace,
                    ca_file=store.vault_ca_file,
                    role_id=store.vault_role_id,
                    credential=lambda: _credential(store, folder),
                )
            )
        case "aws":
            assert store.aws_region is not None, "the settings refuse it"
            return AwsSource(
                AwsSettings(
                    region=store.aws_region,
                    endpoint_url=store.aws_endpoint,
                    access_key=store.aws_access_key,
                    secret_key=store.aws_secret_key,
                )
            )
        case "embedded":
            file = f"{ENV_PREFIX.lower()}{BROKER_FIELDS[0]}"
            if folder is None or not (Path(folder) / file).exists():
                return None
            paths = {broker_path(store): BROKER_FIELDS}
            return FolderSource(Path(folder), paths, prefix=ENV_PREFIX.lower())


def broker_path(store: StoreSettings) -> str:
    """Where the broker's pair stands."""
    return f"{store.secret_prefix}/{BROKER_DOCUMENT}"


def _credential(store: StoreSettings, folder: str | None) -> SecretStr | None:
    """From its file, which may have been replaced since the start."""
    name = "vault_token" if store.vault_role_id is None else "vault_secret_id"
    if folder is not None:
        try:
            text = (Path(folder) / f"{ENV_PREFIX.lower()}{name}").read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            text = ""
        if text:
            return SecretStr(text)
    found: SecretStr | None = getattr(store, name)
    return found
