"""The record of a run: the files that ``search`` writes and ``results`` reads."""
