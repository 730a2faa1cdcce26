"""The record of a run: what ``search`` writes and ``results`` reads, defined once."""
