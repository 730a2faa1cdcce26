"""MODEL_CARD.md: what a final model is, from what the run recorded and from nothing else."""

import json
import shlex
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from results.record import columns

# Scores in evaluation.json beside Keras's own of the test split, which begin with TEST.
TEST = "test_"
OTHER_SCORES = {
    "precision_macro": "test precision, macro",
    "recall_macro": "test recall, macro",
    "validation_accuracy": "validation accuracy",
    "validation_loss": "validation loss",
    "train_accuracy": "training accuracy",
    "train_loss": "training loss",
}
KERAS = "keras"
HEAD = ("", "")


def model_card(
    name: str,
    asked: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    model: Path,
    *,
    trials: int,
    was_tested_before: bool,
    confirmation: Mapping[str, Any] | None = None,
) -> str:
    """Describe a final model in Markdown.

    Args:
        name: Name of the run.
        asked: What run.json says.
        evaluation: What ``final/evaluation.json`` says.
        model: The ``.keras`` file.
        trials: How many trials the search had.
        was_tested_before: Whether an earlier final model of the run was evaluated too.
        confirmation: What ``confirm/confirmation.json`` says, where the model is its winner.
    """
    saved = _saved(model)
    lines = [
        f"# {name}: a model from a hyperparameter search",
        *_what(asked, evaluation, trials, confirmation),
        *_scores(evaluation),
        "## Configuration",
        *_table(
            ("hyperparameter", "value"),
            ((key, str(value)) for key, value in evaluation["values"].items()),
        ),
        *_loading(asked, evaluation, saved),
        *_making(asked, saved),
        *_again(evaluation, confirmation),
        *_limits(asked, evaluation, trials=trials, was_tested_before=was_tested_before),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _what(
    asked: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    trials: int,
    confirmation: Mapping[str, Any] | None,
) -> Iterator[str]:
    problem = asked["plan"]["problem"]
    yield (
        f"\n`{columns.MODEL_FILE}` is a Keras model. fmnist-search found its configuration among "
        f"{trials} trials and trained it anew for {evaluation['epochs']} epochs."
    )
    support = sum(row["support"] for row in evaluation.get("per_class", ()))
    digest = asked.get("data_digest")
    rows = {
        "builder": _code(problem["hypermodel"]),
        "space": problem["space"],
        "data": _code(problem["data"]) + (f", digest `{digest}`" if digest else ""),
        "trained on": "the training split alone",
        "tested on": f"the test split, {support:,} examples" if support else "the test split",
        "epochs": evaluation["epochs"],
        "epochs to choose from": ", ".join(map(str, _planned_epochs(evaluation, confirmation))),
        "trial": evaluation.get("trial"),
        "seed": evaluation["seed"],
    }
    yield from _table(HEAD, ((key, row) for key, row in rows.items() if row not in (None, "")))


def _scores(evaluation: Mapping[str, Any]) -> Iterator[str]:
    yield "## Scores"
    tested = {key: key.replace("_", " ") for key in evaluation if key.startswith(TEST)}
    rows = ((said, evaluation.get(key)) for key, said in (tested | OTHER_SCORES).items())
    yield from _table(("score", "value"), (row for row in rows if row[1] is not None))
    if evaluation.get("per_class"):
        yield "Per class, on the test split:"
        scores = ("name", "precision", "recall", "f1", "support")
        yield from _table(
            ("class", *scores[1:]),
            ([row[score] for score in scores] for row in evaluation["per_class"]),
        )


def _loading(
    asked: Mapping[str, Any], evaluation: Mapping[str, Any], saved: Mapping[str, Any]
) -> Iterator[str]:
    problem = asked["plan"]["problem"]
    shape = _input_shape(saved["config"])
    of_shape = f" of shape {shape}" if shape else ""
    yield "## How to load it\n\n```python\nimport keras\n"
    yield f'model = keras.models.load_model("{columns.MODEL_FILE}")'
    yield f"# inputs: an array{of_shape}, as {problem['data']} gives them"
    yield "outputs = model.predict(inputs)"
    if evaluation.get("per_class"):
        yield f"classes = {[row['name'] for row in evaluation['per_class']]}"
        yield "predicted = [classes[label] for label in outputs.argmax(axis=1)]"
    yield "```\n"
    foreign = sorted(set(_foreign(saved["config"])))
    if foreign:
        yield (
            f"It uses what Keras does not know: {', '.join(map(_code, foreign))}. Hand them to "
            "`load_model` as `custom_objects`.\n"
        )


def _making(asked: Mapping[str, Any], saved: Mapping[str, Any]) -> Iterator[str]:
    begun = [asked, *asked.get("resumed", ())]
    yield "## How it was made\n\n```"
    for one in begun:
        yield shlex.join(one["command"])
    yield "```"
    versions, machine = begun[-1]["versions"], begun[-1]["machine"]
    gibibytes = machine["memory_bytes"] / 1024**3
    rows = {
        "search begun": ", ".join(one["started_at"] for one in begun),
        "model saved": saved["date_saved"].replace("@", " "),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "fmnist-search": asked["version"],
        "machine": f"{machine['system']}, {machine['cores']} cores, {gibibytes:.0f} GiB",
    }
    yield from _table(HEAD, ((key, row) for key, row in rows.items() if row))


def _again(evaluation: Mapping[str, Any], confirmation: Mapping[str, Any] | None) -> Iterator[str]:
    """Say which command makes this model."""
    epochs = ",".join(map(str, _planned_epochs(evaluation, confirmation)))
    if confirmation is not None:
        rows, seeds = confirmation["candidates"], len(confirmation["seeds"])
        top = len({row["trial"] for row in rows if not row["is_for_comparison"]})
        yield (
            f"It won a confirmation on {seeds} new seeds: `fmnist-search confirm RUN --top {top} "
            f"--seeds {seeds} --retrain-epochs {epochs}`, which trains only what `RUN/confirm` "
            "does not keep yet.\n"
        )
    elif epochs and not evaluation.get(columns.CONFIRMED_SEEDS):
        yield f"To train it again: `fmnist-search retrain RUN --retrain-epochs {epochs}`\n"


def _planned_epochs(
    evaluation: Mapping[str, Any], confirmation: Mapping[str, Any] | None
) -> list[int]:
    """Return the numbers of epochs that there were to choose from."""
    if confirmation is None:
        return list(evaluation.get("retrain_epochs", ()))
    return sorted({row["epochs"] for row in confirmation["candidates"]})


def _limits(
    asked: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    *,
    trials: int,
    was_tested_before: bool,
) -> Iterator[str]:
    data = _code(asked["plan"]["problem"]["data"])
    yield "## Intended use and limits\n"
    yield f"- It was trained on the training split of {data} only: for inputs like those, and"
    yield "  prepared in the same way. How it does on others was not measured."
    yield f"- Configuration (of {trials} trials) and number of epochs were chosen by the validation"
    yield "  split, so the validation scores are better than new data would give."
    again = (
        " An earlier final model of this run had been evaluated on it." if was_tested_before else ""
    )
    yield f"- The test split was read once by this model, after every choice.{again}"
    if evaluation.get("per_class"):
        worst = min(evaluation["per_class"], key=lambda row: float(row["recall"]))
        name, recall = worst["name"], worst["recall"]
        yield f"- Of the classes {name!r} is recognized worst: recall {recall:.4f}."
    yield "- Nothing but the scores above was examined."


def _saved(model: Path) -> dict[str, Any]:
    """Return what a ``.keras`` file says of itself: when it was saved, and its configuration."""
    with zipfile.ZipFile(model) as archive:
        saved: dict[str, Any] = json.loads(archive.read("metadata.json"))
        return saved | {"config": json.loads(archive.read("config.json"))}


def _input_shape(config: Mapping[str, Any]) -> str | None:
    """Return the shape of a batch of inputs, where the model has one input and says so."""
    shape = config.get("build_config", {}).get("input_shape")
    if not isinstance(shape, list) or not all(one is None or type(one) is int for one in shape):
        return None
    return "(" + ", ".join(["n", *map(str, shape[1:])]) + ("," if len(shape) == 1 else "") + ")"


def _foreign(node: Any) -> Iterator[str]:
    """Find the classes and functions in a model's configuration that are not Keras's own.

    Source: ``serialize_keras_object`` of Keras 3.15, which names the module of each.
    """
    if isinstance(node, list):
        for one in node:
            yield from _foreign(one)
    elif isinstance(node, dict):
        module = node.get("module")
        if isinstance(module, str) and "class_name" in node:
            if node["class_name"] == "function":
                yield str(node.get("config"))
            elif module.split(".")[0] != KERAS:
                yield f"{module}.{node['class_name']}"
        yield from _foreign(list(node.values()))


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield ""
    yield _row(head)
    yield _row(["---"] * len(head))
    for row in rows:
        yield _row([_cell(value) for value in row])
    yield ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if 0.001 <= abs(value) < 1000 else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    return f"`{text}`"
