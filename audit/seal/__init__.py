"""The writer's side: the Merkle tree over the audit log, its signed checkpoints, and where they go."""
