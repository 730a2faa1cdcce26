"""Candidates for the first configuration of the ``wide`` space, as a space of their own."""

from typing import Any, NamedTuple

import keras
import keras_tuner as kt

from fmnist_model.mlp import Wide


class Candidate(NamedTuple):
    """Two hidden layers, relu, adam with learning rate 0.0015 at first, a cosine schedule."""

    neurons: int
    batch_size: int
    dropout: float
    epochs: int

    @property
    def name(self) -> str:
        """What the parameter's value is."""
        return f"{self.neurons} neurons, batch {self.batch_size}, dropout {self.dropout}, {self.epochs} epochs"

    @property
    def values(self) -> dict[str, Any]:
        """The configuration, as the ``wide`` space has it."""
        return {
            "activation": "relu",
            "batch_size": self.batch_size,
            "dropout": self.dropout,
            "hidden_layers": 2,
            "learning_rate": 0.0015,
            "neurons": self.neurons,
            "optimizer": "adam",
            "penalize_weights": False,
            "schedule": "cosine",
        }


_LONG = [(192, 96, 0.1), (256, 128, 0.1), (320, 192, 0.05), (384, 128, 0.2)]
_SHORT = [(192, 96, 0.1), (384, 128, 0.2)]  # the others are in curves.jsonl already
CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        *(Candidate(*one, epochs=10) for one in _SHORT),
        *(Candidate(*one, epochs=20) for one in _LONG),
        *(Candidate(*one, epochs=30) for one in _LONG),
    )
}


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
