"""One key of approvals for tests: what risk signs with it, execution accepts."""

from pydantic import SecretStr

from security.approvals import ApprovalKeys, ApprovalSigner, KeyState

SIGNER, _SECRET = ApprovalSigner.generate()
KEYS = ApprovalKeys({SIGNER.public_key: KeyState.CURRENT})
PUBLIC = {"approval_public_keys": SecretStr(KEYS.text)}
"""As execution is told it."""
BOTH = PUBLIC | {"approval_signing_key": SecretStr(_SECRET)}
"""As risk is told it."""
AUDIT_KEY = "5e" * 32
"""What a test's sealer signs with, in hexadecimal."""
