"""The rules of the race, the same for all. Imports nothing, so that no peer waits for it."""

EPOCHS = 30
# By space: as in the published work; none (0) where it costs accuracy under a cosine schedule.
PATIENCE = {"published": 5, "wide": 0}
BATCH_SIZE = 32
