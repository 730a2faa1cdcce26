"""The process that trains: its set-up, its trials, their data and their checkpoints."""
