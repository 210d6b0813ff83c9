"""Jump channels: SSH end to end, relayed."""
