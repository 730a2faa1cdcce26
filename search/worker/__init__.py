"""The worker process: its set-up, its trials, their data and their checkpoints."""
