"""The direction of a metric by its name: what keras-tuner says, without its imports."""

import inspect
import re

import keras
import keras_tuner as kt
import pytest

from results.record.history import Objective
from search.plan.directions import doubt, infer_direction
from search.plan.options import Speaker

MODULES = (keras.metrics, keras.losses)
# Names of metrics that people give, and parts of words that mean a direction elsewhere.
INVENTED = """
    acceleration_mae account_mae factor2_mae error_type_accuracy accuracy_loss my_loss out_loss
    accuracy_score acc_top5 top5_acc top_5_accuracy sparse_top_k_acc f1 f2 f1_macro macro_f1
    balanced_accuracy roc_auc pr_auc auc_pr average_precision precision_macro recall_macro mean_iou
    iou miou dice_coef dice_loss jaccard kappa mcc r2 r_squared rmse mean_error max_error wer cer
    bleu rouge perplexity elbo reward score quality latency_ms seconds psnr ssim ndcg hit_rate
    error_rate success_rate lr learning_rate val loss_1_extra LOSS Acc
"""
UNLIKE_KERAS = {"val_", "weighted_", "val", "", "_", "_1"}


def of_keras_tuner(name):
    """Return keras-tuner's direction of a name without Keras's number; None where it knows none."""
    try:
        return kt.engine.metrics_tracking.infer_metric_direction(re.sub(r"_[0-9]+$", "", name))
    except TypeError:  # of a metric that needs arguments
        return None


def names_of_keras():
    """Return every public name, every name in a configuration, and those of the instances."""
    names = {name for module in MODULES for name in dir(module) if not name.startswith("_")}
    names |= {*keras.src.metrics.ALL_OBJECTS_DICT, *keras.src.losses.ALL_OBJECTS_DICT}
    for name in list(names):
        for made in (getattr(module, name, None) for module in MODULES):
            if inspect.isclass(made):
                names |= {
                    instance.name
                    for arguments in ((), (0.5,), (2,), (2, [0]))
                    if (instance := instance_of(made, arguments)) is not None
                }
    given = {name for name in names if isinstance(name, str)}  # one may take a number for its name
    return given | {"loss", "acc", "ce", "crossentropy"}


def instance_of(made, arguments):
    try:
        return made(*arguments)
    except Exception:  # it takes other arguments
        return None


def test_the_direction_of_every_name_is_the_one_that_keras_tuner_infers():
    names = {*names_of_keras(), *INVENTED.split(), *UNLIKE_KERAS}
    assert len(names) > 180
    prefixes = ("", "val_", "weighted_", "val_weighted_", "weighted_val_")
    prefixed = [prefix + name for name in names for prefix in prefixes]
    ours = {name: infer_direction(name) for name in prefixed}
    assert ours == {name: of_keras_tuner(name) for name in prefixed}
    assert {ours["val_auc"], ours["val_mae"], ours["val_account_mae"]} == {"max", "min", None}


@pytest.mark.parametrize("name", ["recall_1", "val_recall_12", "val_weighted_recall_3"])
def test_the_number_that_keras_adds_to_a_name_tells_no_direction(name):
    assert infer_direction(name) == "max"


def test_a_metric_that_keras_tuner_minimizes_though_larger_is_better_is_a_doubt():
    told = doubt(Objective("val_f1_score", "min"))
    assert told == (
        "val_f1_score is minimized, as keras-tuner does by its name: use --direction max if larger "
        "values are better"
    )
    in_script = doubt(Objective("val_f1_score", "min"), Speaker.SCRIPT)
    assert 'use keras_tuner.Objective("val_f1_score", "max") if' in in_script
    assert doubt(Objective("val_f1_score", "max")) is None
    assert doubt(Objective("val_loss", "min")) is None
