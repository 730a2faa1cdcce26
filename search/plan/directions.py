"""Whether a metric is maximized or minimized, by its name, as keras-tuner infers it.

Keras's metrics and losses stand here by name, so that no answer needs TensorFlow. A test compares
the lists with keras-tuner.

Source: ``infer_metric_direction`` of keras-tuner 1.4.8, with the names of Keras 3.15.
"""

import re

from results.record.history import Objective
from search.plan.options import Speaker


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


VALIDATION, WEIGHTED = "val_", "weighted_"
# Keras numbers the second metric of a name: ``recall_1``.
NUMBER = re.compile(r"_\d+$")
MAXIMIZED = _names(
    """
    acc Accuracy accuracy AUC auc binary_accuracy BinaryAccuracy categorical_accuracy
    CategoricalAccuracy Precision precision Recall recall sparse_categorical_accuracy
    sparse_top_k_categorical_accuracy SparseCategoricalAccuracy
    SparseTopKCategoricalAccuracy top_k_categorical_accuracy TopKCategoricalAccuracy
    true_negatives true_positives TrueNegatives TruePositives
    """
)
MINIMIZED = _names(
    """
    BCE bce binary_crossentropy binary_focal_crossentropy binary_io_u BinaryCrossentropy
    BinaryFocalCrossentropy BinaryIoU categorical_crossentropy
    categorical_focal_crossentropy categorical_generalized_cross_entropy categorical_hinge
    CategoricalCrossentropy CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy
    CategoricalHinge ce Circle circle concordance_correlation ConcordanceCorrelation
    cosine_similarity CosineSimilarity crossentropy CTC ctc deserialize Dice dice f1_score
    F1Score f_beta_score false_negatives false_positives FalseNegatives FalsePositives
    FBetaScore get Hinge hinge Huber huber kl_divergence KLDivergence log_cosh
    log_cosh_error LogCosh LogCoshError Loss loss MAE mae MAPE mape Mean mean
    mean_absolute_error mean_absolute_percentage_error mean_squared_error
    mean_squared_logarithmic_error MeanAbsoluteError MeanAbsolutePercentageError
    MeanSquaredError MeanSquaredLogarithmicError Metric metric MSE mse MSLE msle
    pearson_correlation PearsonCorrelation Poisson poisson r2_score R2Score
    root_mean_squared_error RootMeanSquaredError serialize sparse_categorical_crossentropy
    SparseCategoricalCrossentropy squared_hinge SquaredHinge Sum sum Tversky tversky
    """
)
# Of these larger values are better, though keras-tuner minimizes them.
DOUBTFUL = _names(
    """
    F1Score f1_score FBetaScore f_beta_score R2Score r2_score BinaryIoU binary_io_u
    CosineSimilarity cosine_similarity ConcordanceCorrelation concordance_correlation
    PearsonCorrelation pearson_correlation
    """
)


def infer_direction(name: str) -> str | None:
    """Return ``max`` or ``min`` for the name of a metric; None if keras-tuner does not know it."""
    metric = metric_of(name)
    if metric in MAXIMIZED:
        return "max"
    return "min" if metric in MINIMIZED else None


def metric_of(name: str) -> str:
    """Return the metric that a name reports, without what Keras adds to it.

    It adds ``val_``, then ``weighted_``, and a number where several metrics have one name.
    """
    return NUMBER.sub("", name.removeprefix(VALIDATION).removeprefix(WEIGHTED))


def doubt(objective: Objective, speaker: Speaker = Speaker.COMMAND) -> str | None:
    """Return a warning if the inferred direction of an objective is probably wrong, else None.

    Args:
        objective: The objective.
        speaker: Who named it, without its direction.
    """
    name = objective.name
    if objective.mode == "max" or metric_of(name) not in DOUBTFUL:
        return None
    is_script = speaker is Speaker.SCRIPT
    advice = f'keras_tuner.Objective("{name}", "max")' if is_script else "--direction max"
    return (
        f"{name} is minimized, as keras-tuner does by its name: use {advice} if larger values are "
        "better"
    )
