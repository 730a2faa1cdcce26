"""The problem that ships with the project: Fashion-MNIST and a tunable MLP.

Nothing here knows Ray, the search or the results. The search loads this problem by the names
``fmnist_model.mlp:published`` or ``fmnist_model.mlp:Wide``, and ``fmnist_model.data:load_data``.
"""

from fmnist_model.data import CLASS_NAMES, DataError, Splits, load_data

__all__ = ["CLASS_NAMES", "DataError", "Splits", "load_data"]
