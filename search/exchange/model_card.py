"""Writes MODEL_CARD.md, the description of a final model, from the records of its run only."""

import json
import shlex
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from results.record import columns
from results.record.confirmation import Confirmation

TEMPLATES = Path(__file__).parent / "templates"
CARD = "MODEL_CARD.md.jinja"
# Prefix of Keras's metrics of the test split in evaluation.json.
TEST_PREFIX = "test_"
# The other scores in evaluation.json, and their names in the card.
OTHER_SCORES = {
    "precision_macro": "test precision, macro",
    "recall_macro": "test recall, macro",
    "validation_accuracy": "validation accuracy",
    "validation_loss": "validation loss",
    "train_accuracy": "training accuracy",
    "train_loss": "training loss",
}


def model_card(
    name: str,
    description: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    model: Path,
    *,
    trials: int,
    was_tested_before: bool,
    confirmation: Confirmation | None = None,
) -> str:
    """Return the description of a final model in Markdown.

    Args:
        name: Name of the run.
        description: Content of run.json.
        evaluation: Content of ``final/evaluation.json``.
        model: The ``.keras`` file.
        trials: Number of trials of the search.
        was_tested_before: Whether an earlier final model of the run was evaluated, too.
        confirmation: The confirmation that the model won; None if it won none.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": _cell, "code": "`{}`".format, "command": shlex.join}
    saved = _saved(model)
    classes = evaluation.get("per_class") or ()
    tests = {key: key.replace("_", " ") for key in evaluation if key.startswith(TEST_PREFIX)}
    try:
        return environment.get_template(CARD).render(
            name=name,
            model_file=model.name,
            trials=trials,
            problem=description["plan"]["problem"],
            data_digest=description.get("data_digest"),
            version=description["version"],
            processes=[description, *description.get("resumed", ())],
            evaluation=evaluation,
            values=evaluation["values"],
            scores=[(text, evaluation.get(key)) for key, text in (tests | OTHER_SCORES).items()],
            classes=classes,
            tested=sum(row["support"] for row in classes),
            planned_epochs=_planned_epochs(evaluation, confirmation),
            was_confirmed=bool(evaluation.get(columns.CONFIRMED_SEEDS)),
            was_tested_before=was_tested_before,
            confirmation=confirmation,
            shape=_input_shape(saved["config"]),
            custom_objects=sorted(set(_custom_objects(saved["config"]))),
            saved_at=saved["date_saved"].replace("@", " "),
        )
    except jinja2.UndefinedError as error:
        raise KeyError(str(error)) from error


def _planned_epochs(evaluation: Mapping[str, Any], confirmation: Confirmation | None) -> list[int]:
    """Return the numbers of epochs of which one was chosen."""
    if confirmation is None:
        return list(evaluation.get("retrain_epochs", ()))
    return sorted({candidate.epochs for candidate in confirmation.candidates})


def _saved(model: Path) -> dict[str, Any]:
    """Return the metadata of a ``.keras`` file, and its configuration under ``config``."""
    with zipfile.ZipFile(model) as archive:
        saved: dict[str, Any] = json.loads(archive.read("metadata.json"))
        return saved | {"config": json.loads(archive.read("config.json"))}


def _input_shape(config: Mapping[str, Any]) -> str | None:
    """Return the shape of a batch of inputs; None if the model has several inputs, or no shape."""
    shape = config.get("build_config", {}).get("input_shape")
    if not isinstance(shape, list) or not all(side is None or type(side) is int for side in shape):
        return None
    return "(" + ", ".join(["n", *map(str, shape[1:])]) + ("," if len(shape) == 1 else "") + ")"


def _custom_objects(node: Any) -> Iterator[str]:
    """Yield the classes and functions in a model's configuration that are not Keras's own.

    Source: ``serialize_keras_object`` of Keras 3.15, which names the module of each.
    """
    if isinstance(node, list):
        for part in node:
            yield from _custom_objects(part)
    elif isinstance(node, dict):
        module = node.get("module")
        if isinstance(module, str) and "class_name" in node:
            if node["class_name"] == "function":
                yield str(node.get("config"))
            elif module.split(".")[0] != "keras":
                yield f"{module}.{node['class_name']}"
        yield from _custom_objects(list(node.values()))


def _cell(value: Any) -> str:
    """Return a value as the text of a table's cell."""
    if isinstance(value, float):
        return f"{value:.4f}" if 0.001 <= abs(value) < 1000 else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
