"""Where a search runs. Knows nothing of models, spaces or results."""
