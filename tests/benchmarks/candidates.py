"""Candidates for the first configuration of the ``wide`` space, as a space of their own."""

from typing import Any

import keras
import keras_tuner as kt
from record import CANDIDATES, Candidate

from fmnist_model.mlp import Wide


class Candidates(kt.HyperModel):
    """A space with one parameter: which candidate."""

    def build(self, hp: kt.HyperParameters) -> keras.Sequential:
        """Build a candidate's model."""
        return Wide().build(_values(hp))

    def fit(self, hp: kt.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Train for a candidate's epochs, which are where its schedule ends."""
        kwargs["epochs"] = _candidate(hp).epochs
        return Wide().fit(_values(hp), model, *args, **kwargs)


def _candidate(hp: kt.HyperParameters) -> Candidate:
    return CANDIDATES[hp.Choice("candidate", list(CANDIDATES))]


def _values(hp: kt.HyperParameters) -> kt.HyperParameters:
    of_wide = kt.HyperParameters()
    of_wide.values = _candidate(hp).values
    return of_wide
