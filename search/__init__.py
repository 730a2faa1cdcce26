"""The engine: a keras-tuner search on Ray, with early stopping, and the model it ends with.

It knows of no problem: model and data are named as ``module:attribute``.
"""

from search.errors import SearchError
from search.history import Objective
from search.plan import Algorithm, Engine, Plan, Problem, Tuner

__all__ = ["Algorithm", "Engine", "Objective", "Plan", "Problem", "SearchError", "Tuner"]
