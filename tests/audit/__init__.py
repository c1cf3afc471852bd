"""The audit log, sealed by a small writer of the tests' own and checked by the product."""
