"""The report: one HTML file of one run or several, which opens without a network.

What it shows is made by ``results.report.charts``; here it is put into a page. The charts take the
colours of text and background from the page, light or dark; each says in words, and most in a
table, what it shows.
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
from results.record.words import first_line, format_number
from results.report.charts import charts_by_part, without_none
from results.report.charts.axes import axes_of
from results.report.charts.chart import STATE_COLORS, TEXT, Chart, template
from results.report.charts.final import confused, mistakes_of
from results.report.charts.importance import MIN_TRIALS
from results.report.charts.progress import best_over_epochs, best_over_time
from results.run import Row, Run, best_trial, ending_of, row_of

TEMPLATES = Path(__file__).parent / "templates"
PAGE = "report.html.jinja"
# Near the head of the page: by it a report is known.
GENERATOR = '<meta name="generator" content="fmnist-results report">'
CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
}
# These published rows are drawn beside the curves; the others stand in the table.
DRAWN_ROWS = ("published: best of the search",)


def write_report(runs: Sequence[Run], out: Path) -> Path:
    """Write the report of runs.

    Args:
        runs: One or more; the first says which objective is drawn.
        out: The file to write; one that stands there is replaced, when the new one is whole.

    Returns:
        The file.

    Raises:
        RunFolderError: It cannot be written, or a file of a run is damaged.
    """
    text = page(runs)
    with replacing_output(out) as fresh:
        # The name of a folder need not be UTF-8.
        fresh.write_bytes(text.encode("utf-8", errors="replace"))
    return out


def is_report(path: Path) -> bool:
    """Tell whether a file is a report, which a newer one may take the place of."""
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(1000)


def page(runs: Sequence[Run]) -> str:
    """Return the report as HTML."""
    names = _names(runs)
    peers = [place for place, run in enumerate(runs) if _peers(run) == _peers(runs[0])]
    published = [row for row in published_rows() if any(_is_like(row, run) for run in runs)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    text: str = environment.get_template(PAGE).render(
        title=" and ".join(names[:3]) + (" and others" if names[3:] else ""),
        sections=[_section(run, names[place], place + 1) for place, run in enumerate(runs)],
        comparison=_comparison(runs, names, published),
        over_seeds=_over_seeds(runs),
        has_published=bool(published),
        progress=_progress(
            [runs[place] for place in peers], [names[place] for place in peers], published
        ),
        objective=runs[0].objective,
        least_trials=MIN_TRIALS,
        not_drawn=[name for place, name in enumerate(names) if place not in peers],
        templates=json.dumps({scheme: template(scheme) for scheme in TEXT}),
        config=json.dumps(CONFIG),
        plotly=plotly.offline.get_plotlyjs(),
        figure_json=_figure_json,
        generator=GENERATOR,
    )
    return text


def _names(runs: Sequence[Run]) -> list[str]:
    """Return what the runs are called: by their folders, and those above where names repeat."""
    count = Counter(run.name for run in runs)
    return [
        run.name if count[run.name] == 1 else "/".join(run.path.resolve().parts[-2:])
        for run in runs
    ]


def _peers(run: Run) -> tuple[str | None, str, str]:
    return row_of(run).data, run.objective, run.mode


def _is_like(row: Row, run: Run) -> bool:
    return (row.data, row.objective, row.mode) == _peers(run)


def _progress(runs: list[Run], names: list[str], published: Sequence[Row]) -> list[Chart]:
    beside = [row for row in published if row.name in DRAWN_ROWS and _is_like(row, runs[0])]
    return without_none(
        [best_over_time(runs, beside, names), best_over_epochs(runs, beside, names)]
    )


def _section(run: Run, name: str, place: int) -> dict[str, Any]:
    """Return what the page shows of one run, at its place in the page, from 1."""
    asked, evaluation = run.description, run.evaluation or {}
    mistakes = mistakes_of(run)
    return {
        "run": run,
        "name": name,
        "number": place,
        "facts": _facts(run),
        # As typed: the first, and each that went on with it.
        "commands": [
            shlex.join(one.get("command") or []) for one in [asked, *asked.get("resumed", [])]
        ],
        "best": _best(run),
        "settings": _settings(asked),
        "charts": charts_by_part(run),
        "states": _states(run),
        "scores": _scores(evaluation),
        # The new seed that the final model was trained on, where it is a confirmation's winner.
        "confirmed_seed": evaluation.get("seed")
        if evaluation.get(columns.CONFIRMED_SEEDS)
        else None,
        "mistakes": mistakes,
        "lacks_mistakes": not mistakes and confused(evaluation.get("confusion_matrix") or []),
        "can_be_retrained": asked["plan"]["problem"].get("hypermodel"),
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
            ("found", f"trial {best[columns.TRIAL]}, epoch {best[columns.BEST_EPOCH]}"),
            ("after", f"{best[columns.BEST_SECONDS]:.0f} s"),
        ]
    if row.confirmed_mean is not None:
        facts.append(
            (f"mean of {row.confirmed_seeds} new seeds", format_number(row.confirmed_mean))
        )
    if row.test_accuracy is not None:
        facts.append(("test accuracy", format_number(row.test_accuracy)))
    if row.confirmed_test_mean is not None:
        facts.append(("test accuracy, mean", format_number(row.confirmed_test_mean)))
    facts += [("trials", str(row.trials)), ("epochs trained", str(row.epochs))]
    if row.wall_seconds is not None:
        facts.append(("search took", f"{row.wall_seconds:.0f} s"))
    return facts


def _best(run: Run) -> list[tuple[str, str]]:
    best = best_trial(run)
    if best is None:
        return []
    values = ((axis.name, best[columns.HP_PREFIX + axis.name]) for axis in axes_of(run))
    return [(name, _text(value)) for name, value in values if value is not None]


def _settings(asked: dict[str, Any]) -> list[tuple[str, str]]:
    plan, problem = asked["plan"], asked["plan"]["problem"]
    is_ray = plan.get("engine") == "ray"
    settings = [
        ("model", problem.get("hypermodel")), ("data", problem.get("data")),
        ("space", problem.get("space")), ("engine", plan.get("engine")),
        ("searched by", plan.get("tuner") or plan.get("algorithm")),
        ("stopped by", plan.get("scheduler") if is_ray else None),
        ("workers", plan.get("workers")), ("seed", problem.get("seed")),
        ("started", _when(asked.get("started_at"))),
        ("machine", _machine(asked.get("machine") or {})),
        ("versions", ", ".join(f"{k} {v}" for k, v in (asked.get("versions") or {}).items())),
    ]  # fmt: skip
    return [(name, str(value)) for name, value in settings if value not in (None, "")]


def _when(stamp: Any) -> str | None:
    try:
        return datetime.fromisoformat(stamp).strftime("%Y-%m-%d %H:%M UTC")
    except (TypeError, ValueError):
        return None


def _machine(machine: dict[str, Any]) -> str:
    if not machine:
        return ""
    memory = (machine.get("memory_bytes") or 0) / 1024**3
    return f"{machine.get('cores')} cores, {memory:.0f} GiB, {machine.get('system')}"


def _scores(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the numbers of evaluation.json, those of the test split first."""
    tested = {key: key.replace("_", " ") for key in evaluation if key.startswith("test_")}
    others = {
        "precision_macro": "precision, mean of the classes",
        "recall_macro": "recall, mean of the classes",
        "validation_accuracy": "validation accuracy", "validation_loss": "validation loss",
        "epochs": "retrained for, epochs", "objective": "epochs chosen by",
    }  # fmt: skip
    found = ((name, evaluation.get(key)) for key, name in (tested | others).items())
    return [
        (name, format_number(value) if isinstance(value, float) else str(value))
        for name, value in found
        if value is not None
    ]


def _trials(run: Run) -> list[list[str]]:
    """Return a table of all trials; of hyperparameters those that any trial used."""
    names = [axis.name for axis in axes_of(run)]
    heads = ["trial", "ended", "epochs", f"best {run.objective}", "at epoch", "train s", *names]
    rows = [[*heads, "error"]]
    for row in run.trials.to_pylist():
        values = [row[columns.HP_PREFIX + name] for name in names]
        error = first_line(row[columns.ERROR])
        rows.append(
            [
                str(row[columns.TRIAL]), str(ending_of(row)), str(row[columns.EPOCHS]),
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
    """Return the table over seeds and what is to be said of it; empty where no group has two."""
    usable, notes = [], []
    for run in runs:
        try:
            seeds.check_complete(run)
            usable.append(run)
        except RunFolderError as error:
            notes.append(f"left out: {error}")
    standings, said = seeds.compare_groups(usable, seeds.Against.BEST)
    if not any(row.seeds > 1 for row in standings):
        return [], []
    return formats.cells(standings, seeds.shown_columns(standings)), [*said, *notes]


def _figure_json(chart: Chart) -> str:
    """Return a figure for a script element: it holds no ``<``, which could end the element."""
    found: str = chart.figure.to_json()
    return found.replace("<", "\\u003c")
