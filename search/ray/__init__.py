"""Ray: starting and joining it, its nodes, and the checkpoints sent between them."""
