"""The audit log made provable: sealed by `audit.seal`, checked by parts that share only the hash with it."""
