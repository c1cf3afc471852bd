"""Settings of who speaks to Temporal, and of who shows people what Temporal holds."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from schemas.wire import NAMESPACE
from security.outgoing import GivenSecret
from workers.settings_base import Port, Settings


class TemporalSettings(Settings):
    """Where Temporal is."""

    temporal_address: str
    """``host:port`` of Temporal's front end."""
    temporal_namespace: str = NAMESPACE
    """The installation's namespace."""
    payload_keys: GivenSecret = None
    """The keys that payloads in Temporal are encrypted with, ``ID:KEY`` in a line; the first encrypts, all decrypt.
    Made and changed by `trading payloads`; the same for every process that speaks to Temporal."""
    payloads: Annotated[Literal["encrypted", "plain"], Field(validate_default=True)] = "plain"
    """``plain`` lets the Web UI read by itself, and reads what was encrypted before all the same."""

    @field_validator("payloads")
    @classmethod
    def _has_keys(cls, value: str, info: ValidationInfo) -> str:
        if value == "encrypted" and info.data.get("payload_keys") is None:
            raise ValueError("encrypted payloads need TRADING_PAYLOAD_KEYS: see `trading payloads`")
        return value


class CodecDoorSettings(Settings):
    """For who decodes payloads for people."""

    codec_host: str = "127.0.0.1"
    """Where payloads are decoded."""
    codec_port: Port = 8088
    """Its port; 0 takes a free one."""
    codec_token: GivenSecret = None
    """Who sends it as bearer reads every payload, as who is signed in to the console; 32 characters or more."""
    codec_origins: str = ""
    """Where the Web UI is, ``https://HOST``; several with commas. Pages of others get no answer."""
    codec_encodes: bool = False
    """Whether it encrypts too, for values typed at a terminal; what is not encrypted is taken all the same."""

    @property
    def codec_page_origins(self) -> frozenset[str]:
        """Each origin by itself."""
        return frozenset(each.strip().rstrip("/") for each in self.codec_origins.split(",") if each.strip())
