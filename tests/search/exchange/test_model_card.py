"""The model card, byte for byte as version 0.1.0 wrote it, and what it lacks when a run lacks it."""

import json
import zipfile
from pathlib import Path

import pytest

from results.record.confirmation import Confirmation
from search.exchange.model_card import model_card

HERE = Path(__file__).parent  # its cards are text files: ruff would format Markdown
CONFIRMATION = HERE.parent / "final" / "golden" / "confirmation.json"
MACHINE = {
    "processor": "x86_64", "cores": 2, "memory_bytes": 17179869184, "system": "Linux-6",
}  # fmt: skip
RUN = {
    "version": "0.1.0",
    "started_at": "2026-11-01T10:00:00+00:00",
    "command": ["fmnist-search", "run", "--out", "a run"],
    "plan": {
        "problem": {
            "hypermodel": "fmnist_model.mlp:Wide", "data": "fmnist_model.data:load_data", "space": "wide",
        }
    },
    "data_digest": "abc123",
    "versions": {"tensorflow": "2.21.0", "keras": "3.15.0", "python": "3.12.1"},
    "machine": MACHINE,
}  # fmt: skip
RESUMED = RUN | {
    "resumed": [
        {
            "started_at": "2026-11-02T10:00:00+00:00",
            "command": ["fmnist-search", "resume", "a run"],
            "versions": {"keras": "3.16.0"},
            "machine": MACHINE | {"cores": 8, "memory_bytes": 3 * 10**9},
        }
    ]
}
BARE = RUN | {
    "version": None,
    "plan": {"problem": {"hypermodel": "problems:small", "data": "problems:blobs", "space": ""}},
    "data_digest": None,
}
CLASSES = [
    {"name": "T-shirt/top", "precision": 0.84, "recall": 0.85, "f1": 0.845, "support": 1000},
    {"name": "Ankle boot", "precision": 0.96, "recall": 0.95, "f1": 0.955, "support": 1000},
    {"name": "It's | odd", "precision": 0.7, "recall": 0.65, "f1": 0.0001, "support": 500},
]
CLASSIFIER = {
    "test_loss": 0.3074, "test_accuracy": 0.895, "precision_macro": 0.8949, "recall_macro": 0.895,
    "per_class": CLASSES, "validation_loss": 0.2626, "validation_accuracy": 0.9055,
    "train_loss": 0.2006, "train_accuracy": 0.9242, "epochs": 20, "seed": 0, "trial": 17,
    "values": {
        "layers": 6, "neurons": 239, "activation": "relu", "dropout": 0.0262, "tuned|odd": "", "deep": True,
    },
    "retrain_epochs": [20, 50, 100],
}  # fmt: skip
CONFIRMED = CLASSIFIER | {"confirmed_seeds": [1, 2, 3], "retrain_epochs": [20]}
REGRESSION = {
    "test_mse": 0.25, "test_loss": 12345.678, "epochs": 2, "seed": 0, "trial": 1, "values": {"a|b": 0.015},
}  # fmt: skip


def part(module, class_name, **others):
    return {"module": module, "class_name": class_name, **others}


PLAIN = part("keras", "Sequential", build_config={"input_shape": [None, 28, 28]})
SEVERAL_INPUTS = part("keras", "Functional", build_config={"input_shape": [[None, 3], [None, 4]]})
OF_OWN_PARTS = part(
    "keras",
    "Sequential",
    config={"layers": [part("mine.layers", "Gate")]},
    build_config={"input_shape": [None]},
    compile_config={"loss": part("builtins", "function", config="squared")},
)


@pytest.fixture
def card(tmp_path):
    """Describe a model of which a ``.keras`` file says no more than the card reads of it."""

    def card(
        description, evaluation, config, trials=120, was_tested_before=False, confirmation=None
    ):
        with zipfile.ZipFile(tmp_path / "model.keras", "w") as file:
            file.writestr("metadata.json", json.dumps({"date_saved": "2026-11-01@12:00:00"}))
            file.writestr("config.json", json.dumps(config))
        return model_card(
            "a <b> run & more",
            description,
            evaluation,
            tmp_path / "model.keras",
            trials=trials,
            was_tested_before=was_tested_before,
            confirmation=confirmation,
        )

    return card


@pytest.mark.parametrize(
    ("name", "description", "evaluation", "config", "others"),
    [
        ("classifier", RUN, CLASSIFIER, PLAIN, {}),
        ("resumed", RESUMED, CLASSIFIER, PLAIN, {"trials": 1, "was_tested_before": True}),
        ("confirmed", RUN, CONFIRMED, SEVERAL_INPUTS, {"confirmation": Confirmation.read(CONFIRMATION)}),
        ("regression-of-own-parts", BARE, REGRESSION, OF_OWN_PARTS, {"trials": 9}),
    ],
)  # fmt: skip
def test_a_card_is_byte_for_byte_that_of_version_0_1_0(
    card, name, description, evaluation, config, others
):
    golden = HERE / "golden" / f"{name}.txt"
    assert card(description, evaluation, config, **others).encode() == golden.read_bytes()


def test_a_model_whose_confirmation_was_cut_off_has_no_command_that_makes_it(card):
    said = card(RUN, CONFIRMED, PLAIN)
    assert "To train it again" not in said
    assert "It won a confirmation" not in said


@pytest.mark.parametrize("missing", ["epochs", "seed", "values"])
def test_a_missing_fact_of_a_model_is_named(card, missing):
    evaluation = {name: value for name, value in CLASSIFIER.items() if name != missing}
    with pytest.raises(KeyError, match=missing):
        card(RUN, evaluation, PLAIN)


@pytest.mark.parametrize(
    ("score", "text"),
    [(0.5, "0.5000"), (-0.25, "-0.2500"), (0.001, "0.0010"), (0.00099, "0.00099"),
     (999.5, "999.5000"), (1000.0, "1000"), (1000.4, "1000")],
)  # fmt: skip
def test_a_score_is_written_with_four_decimals_if_it_is_neither_small_nor_large(card, score, text):
    assert f"| test mse | {text} |" in card(RUN, REGRESSION | {"test_mse": score}, PLAIN)


def test_a_part_without_a_module_is_no_custom_object(card):
    of_layers = part("keras", "Sequential", config={"layers": [{"class_name": "__tuple__"}]})
    assert "custom objects" not in card(RUN, CLASSIFIER, of_layers)


def test_a_module_without_a_class_is_no_custom_object(card):
    of_settings = part("keras", "Sequential", config={"module": "mine.layers"})
    assert "custom objects" not in card(RUN, CLASSIFIER, of_settings)
