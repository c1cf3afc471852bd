"""One-time codes by time (RFC 6238): six digits, thirty seconds, one step to either side."""

import hmac
import io
import re
from datetime import datetime
from typing import Final

import pyotp
import segno

STEP_SECONDS: Final = 30
STEPS_ASIDE: Final = 1
"""A phone's clock may be so many steps off."""
ISSUER: Final = "trading-interface"
_CODE: Final = re.compile(r"[0-9]{6}")


def new_secret() -> str:
    """160 random bits in base32."""
    return pyotp.random_base32()


def matching_step(secret: str, code: str, now: datetime) -> int | None:
    """The time step whose code this is; None: of none near now. Whether it was used before is the row's to say."""
    text = re.sub(r"\s", "", code)
    if not _CODE.fullmatch(text):
        return None
    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    current = int(now.timestamp()) // STEP_SECONDS
    found = None
    for step in range(current - STEPS_ASIDE, current + STEPS_ASIDE + 1):
        if hmac.compare_digest(totp.generate_otp(step), text):
            found = step
    return found


def address(secret: str, name: str) -> str:
    """What an authenticator is told: ``otpauth://…``. A secret."""
    return pyotp.TOTP(secret, interval=STEP_SECONDS).provisioning_uri(name=name, issuer_name=ISSUER)


def qr_code(text: str) -> bytes:
    """A picture of a text, SVG with no style and no script in it."""
    out = io.BytesIO()
    segno.make(text, error="m", micro=False).save(
        out, kind="svg", scale=4, border=4, dark="#000", light="#fff", xmldecl=False, nl=False
    )
    return out.getvalue()
