"""The rules of the race, the same for all. Imports nothing: no peer pays for what it does not use."""

EPOCHS = 10
PATIENCE = 5
BATCH_SIZE = 32
