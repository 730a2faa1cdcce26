"""Published figures for Fashion-MNIST with a tuned MLP, to stand beside our own runs.

They are facts of an earlier search with one seed, not reproduced here; the model is 6 hidden
layers of 239 neurons, relu, nadam, dropout 0.0262, chosen by a search of 9 min 4 s.
"""

from typing import Any

from results.run import Row

REFERENCE = "published"
# The data that the figures are of, as runs name it.
DATA = "fmnist_model.data:load_data"


def published_rows() -> list[Row]:
    """Return the reference rows; what was not published is None."""
    return [
        _published("earlier best of the MLP search", best=0.8838),
        _published("best of the search", best=0.9007, wall_seconds=544.0),
        _published("retrained 20 epochs, first try", best=0.9002, final_epochs=20),
        _published(
            "retrained 20 epochs, final model",
            best=0.9055,
            final_epochs=20,
            test_accuracy=0.8950,
            test_loss=0.3074,
        ),
        _published("retrained 50 epochs", best=0.9045, final_epochs=50),
        _published("retrained 100 epochs", best=0.9000, final_epochs=100),
        _published(
            "a separate confusion matrix",
            test_accuracy=0.8742,
            precision_macro=0.8736,
            recall_macro=0.8742,
        ),
    ]


def _published(what: str, **figures: Any) -> Row:
    return Row(
        name=f"published: {what}",
        engine=REFERENCE,
        data=DATA,
        objective="val_accuracy",
        **figures,
    )
