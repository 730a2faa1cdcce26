"""The report: an HTML file of one or more runs, which opens without a network.

The charts come from ``results.report.charts``. Their colours follow the page, light or dark. Each
chart has a description, and most have a table.
"""

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import plotly.offline

from results.compare import formats, seeds
from results.compare.rows import published_rows, ranked
from results.record import columns
from results.record.errors import RunFolderError
from results.record.files import replacing_output
from results.record.words import describe_scores, first_line, format_number
from results.report.charts import charts_by_part, without_none
from results.report.charts.axes import axes_of
from results.report.charts.chart import STATE_COLORS, TEXT, Chart, template
from results.report.charts.final import confusions, mistakes_of
from results.report.charts.importance import MIN_TRIALS
from results.report.charts.progress import best_over_epochs, best_over_time
from results.run import Row, Run, best_trial, ending_of, epoch_cells, has_stopped, row_of

TEMPLATES = Path(__file__).parent / "templates"
PAGE = "report.html.jinja"
# Near the top of the page; ``is_report`` looks for it.
GENERATOR = '<meta name="generator" content="fmnist-results report">'
CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
}
# Published rows that the charts show as lines; the table shows all.
DRAWN_ROWS = ("published: best of the search",)


def write_report(runs: Sequence[Run], out: Path) -> Path:
    """Write the report of runs.

    Args:
        runs: At least one; the progress charts show the objective of the first.
        out: The file to write; an existing file is replaced.

    Returns:
        The path of the file.

    Raises:
        RunFolderError: The report cannot be written, or a file of a run is damaged.
    """
    text = page(runs)
    with replacing_output(out) as new_file:
        # The name of a folder may not be valid UTF-8.
        new_file.write_bytes(text.encode("utf-8", errors="replace"))
    return out


def is_report(path: Path) -> bool:
    """Tell whether a file is a report, which a new report may replace."""
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(1000)


def page(runs: Sequence[Run]) -> str:
    """Return the report as HTML."""
    names = _names(runs)
    drawn = [index for index, run in enumerate(runs) if _goal(run) == _goal(runs[0])]
    published = [row for row in published_rows() if any(_has_goal_of(row, run) for run in runs)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    text: str = environment.get_template(PAGE).render(
        title=" and ".join(names[:3]) + (" and others" if names[3:] else ""),
        sections=[_section(run, names[index], index + 1) for index, run in enumerate(runs)],
        comparison=_comparison(runs, names, published),
        over_seeds=_over_seeds(runs),
        has_published=bool(published),
        progress=_progress(
            [runs[index] for index in drawn], [names[index] for index in drawn], published
        ),
        objective=runs[0].objective,
        min_trials=MIN_TRIALS,
        not_drawn=[name for index, name in enumerate(names) if index not in drawn],
        templates=json.dumps({scheme: template(scheme) for scheme in TEXT}),
        config=json.dumps(CONFIG),
        plotly=plotly.offline.get_plotlyjs(),
        figure_json=_figure_json,
        generator=GENERATOR,
    )
    return text


def _names(runs: Sequence[Run]) -> list[str]:
    """Return names for the runs: their folders, with the parent folder if names repeat."""
    count = Counter(run.name for run in runs)
    return [
        run.name if count[run.name] == 1 else "/".join(run.path.resolve().parts[-2:])
        for run in runs
    ]


def _goal(run: Run) -> tuple[str | None, str, str]:
    """Return data, objective and mode; runs are comparable if these are equal."""
    return row_of(run).data, run.objective, run.mode


def _has_goal_of(row: Row, run: Run) -> bool:
    return (row.data, row.objective, row.mode) == _goal(run)


def _progress(runs: list[Run], names: list[str], published: Sequence[Row]) -> list[Chart]:
    references = [row for row in published if row.name in DRAWN_ROWS and _has_goal_of(row, runs[0])]
    return without_none(
        [best_over_time(runs, references, names), best_over_epochs(runs, references, names)]
    )


def _section(run: Run, name: str, number: int) -> dict[str, Any]:
    """Return the content of a run's section; ``number`` is its position on the page, from 1."""
    description, evaluation = run.description, run.evaluation or {}
    mistakes = mistakes_of(run)
    return {
        "run": run,
        "name": name,
        "number": number,
        "facts": _facts(run),
        # The command that started the run, then those that resumed it.
        "commands": [
            shlex.join(session.get("command") or [])
            for session in [description, *description.get("resumed", [])]
        ],
        "best": _best(run),
        "settings": _settings(description),
        "charts": charts_by_part(run),
        "states": _states(run),
        "scores": _scores(evaluation),
        # Seed of the final model if it is the winner of a confirmation.
        "confirmed_seed": evaluation.get("seed")
        if evaluation.get(columns.CONFIRMED_SEEDS)
        else None,
        "mistakes": mistakes,
        "lacks_mistakes": not mistakes and confusions(evaluation.get("confusion_matrix") or []),
        "can_be_retrained": description["plan"]["problem"].get("hypermodel"),
        "trials": _trials(run),
    }


def _states(run: Run) -> list[tuple[str, str]]:
    endings = dict.fromkeys(ending_of(row) for row in run.trials.to_pylist())
    return [(str(ending), STATE_COLORS[ending.state]) for ending in endings]


def _facts(run: Run) -> list[tuple[str, str]]:
    row, best = row_of(run), best_trial(run)
    facts = [("ended", run.ended)]
    if best:
        facts += [
            (f"best {run.objective}", format_number(best[columns.BEST_OBJECTIVE])),
            ("found in", _place(best)),
            ("found after", f"{best[columns.BEST_SECONDS]:.0f} s"),
        ]
    if row.confirmed_mean is not None:
        facts.append(
            (f"mean over {row.confirmed_seeds} new seeds", format_number(row.confirmed_mean))
        )
    if row.test_accuracy is not None:
        facts.append(("test accuracy", format_number(row.test_accuracy)))
    if row.confirmed_test_mean is not None:
        facts.append(("mean test accuracy", format_number(row.confirmed_test_mean)))
    facts += [("trials", str(row.trials)), ("epochs trained", str(row.epochs))]
    if row.wall_seconds is not None:
        facts.append(("search time", f"{row.wall_seconds:.0f} s"))
    scores = describe_scores(run.score_kind, has_stopped=has_stopped(run))
    return facts if scores is None else [*facts, ("scores", scores)]


def _place(best: dict[str, Any]) -> str:
    """Return the trial of the best value, and its epoch unless the trial returned the value."""
    epoch = best[columns.BEST_EPOCH]
    return f"trial {best[columns.TRIAL]}" + ("" if epoch is None else f", epoch {epoch}")


def _best(run: Run) -> list[tuple[str, str]]:
    best = best_trial(run)
    if best is None:
        return []
    values = ((axis.name, best[columns.HP_PREFIX + axis.name]) for axis in axes_of(run))
    return [(name, _text(value)) for name, value in values if value is not None]


def _settings(description: dict[str, Any]) -> list[tuple[str, str]]:
    plan, problem = description["plan"], description["plan"]["problem"]
    versions = description.get("versions") or {}
    is_ray = plan.get("engine") == "ray"
    settings = [
        ("model", problem.get("hypermodel")), ("data", problem.get("data")),
        ("space", problem.get("space")), ("engine", plan.get("engine")),
        ("algorithm", plan.get("tuner") or plan.get("algorithm")),
        ("scheduler", plan.get("scheduler") if is_ray else None),
        ("workers", plan.get("workers")), ("seed", problem.get("seed")),
        ("started", _date_and_time(description.get("started_at"))),
        ("machine", _machine(description.get("machine") or {})),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]  # fmt: skip
    return [(name, str(value)) for name, value in settings if value not in (None, "")]


def _date_and_time(timestamp: Any) -> str | None:
    try:
        return datetime.fromisoformat(timestamp).strftime("%Y-%m-%d %H:%M UTC")
    except (TypeError, ValueError):
        return None


def _machine(machine: dict[str, Any]) -> str:
    if not machine:
        return ""
    memory = (machine.get("memory_bytes") or 0) / 1024**3
    return f"{machine.get('cores')} cores, {memory:.0f} GiB, {machine.get('system')}"


def _scores(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the numbers of evaluation.json, those of the test set first."""
    test_scores = {key: key.replace("_", " ") for key in evaluation if key.startswith("test_")}
    other_scores = {
        "precision_macro": "mean precision of the classes",
        "recall_macro": "mean recall of the classes",
        "validation_accuracy": "validation accuracy", "validation_loss": "validation loss",
        "epochs": "epochs of the retraining", "objective": "epochs chosen by",
    }  # fmt: skip
    scores = ((name, evaluation.get(key)) for key, name in (test_scores | other_scores).items())
    return [
        (name, format_number(value) if isinstance(value, float) else str(value))
        for name, value in scores
        if value is not None
    ]


def _trials(run: Run) -> list[list[str]]:
    """Return a table of all trials, with the hyperparameters that any trial used."""
    names = [axis.name for axis in axes_of(run)]
    epochs = epoch_cells(run)
    headings = ["trial", "ended", *epochs, f"best {run.objective}", "at epoch", "train s", *names]
    rows = [[*headings, "error"]]
    for row, *epoch_texts in zip(run.trials.to_pylist(), *epochs.values(), strict=True):
        values = [row[columns.HP_PREFIX + name] for name in names]
        error = first_line(row[columns.ERROR])
        rows.append(
            [
                str(row[columns.TRIAL]), str(ending_of(row)), *epoch_texts,
                format_number(row[columns.BEST_OBJECTIVE]), _text(row[columns.BEST_EPOCH]),
                f"{row[columns.TRAIN_SECONDS]:.1f}", *map(_text, values), error,
            ]
        )  # fmt: skip
    return rows


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _comparison(
    runs: Sequence[Run], names: Sequence[str], published: Sequence[Row]
) -> list[list[str]]:
    named = [replace(row_of(run), name=name) for run, name in zip(runs, names, strict=True)]
    rows = ranked([*named, *published])
    return formats.cells(rows, formats.shown_columns(rows))


def _over_seeds(runs: Sequence[Run]) -> tuple[list[list[str]], list[str]]:
    """Return the comparison over seeds and notes on it; empty if no group has two seeds."""
    complete, notes = [], []
    for run in runs:
        try:
            seeds.check_complete(run)
            complete.append(run)
        except RunFolderError as error:
            notes.append(f"skipped: {error}")
    rows, group_notes = seeds.compare_groups(complete, seeds.Against.BEST)
    if not any(row.seeds > 1 for row in rows):
        return [], []
    return formats.cells(rows, seeds.shown_columns(rows)), [*group_notes, *notes]


def _figure_json(chart: Chart) -> str:
    """Return a figure as JSON for a script element, without ``<``, which could end the element."""
    figure_json: str = chart.figure.to_json()
    return figure_json.replace("<", "\\u003c")
