"""What a standby hub does: it keeps what the hub that it follows knows."""
