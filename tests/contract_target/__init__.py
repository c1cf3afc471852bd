"""What every store of checkpoints must do."""
