"""What chooses the next configuration."""
