"""The rules of the race, the same for all. Imports nothing: no peer pays for what it does not use."""

EPOCHS = 30
# By space: as in the published work; twice as long where a cosine lets the loss rest for a while.
PATIENCE = {"published": 5, "wide": 10}
BATCH_SIZE = 32
