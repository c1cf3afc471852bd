"""The verifier: it shares nothing with what writes and seals but the hash of a row (`schemas.audit`)."""
