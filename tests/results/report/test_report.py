"""The text of the report: what it says of each run, and of several together."""

import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser

import made_up
import pytest
from afterwards import audit_of, confirmation_of
from in_memory import epoch_of, run_of, trial_of

from results.compare.rows import DATA
from results.reading import read_run
from results.record import columns
from results.record.errors import RunFolderError
from results.report.report import is_report, page, write_report

MIN = {"objective": {"name": "val_loss", "mode": "min"}}


def before_scripts(html):
    """Return the part of a page that a reader sees; behind it stand Plotly and the page's own."""
    return html.partition("<noscript>")[0]


def facts_of(html):
    """Return the facts of a page by name."""
    return dict(re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", html))


def small_run(*, path="run", trials=1, **options):
    """Return a run of few trials with an epoch each."""
    return run_of(
        [trial_of(n, 0.5 + n / 10, **{"hp:units": n + 3}) for n in range(trials)],
        [epoch_of(n, 1, 0.5 + n / 10, at=n + 1.0) for n in range(trials)],
        path=path, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(retrained_folder):
    return read_run(retrained_folder)


@pytest.fixture(scope="module")
def html(run):
    return before_scripts(page([run]))


# --- A single run -----------------------------------------------------------------------------


class Balance(HTMLParser):
    """Checks that every element of a page is closed in order."""

    VOID = ("meta", "link", "br", "img")

    def __init__(self):
        super().__init__()
        self.open, self.unbalanced = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.unbalanced.append((tag, self.getpos()))


def test_every_element_of_the_page_is_closed(run):
    balance = Balance()
    balance.feed(page([run]))
    assert (balance.open, balance.unbalanced) == ([], [])


def test_names_and_errors_are_text_and_no_markup(html):
    assert "<b>run" not in html
    assert "a &lt;b&gt;run" in html
    assert "<b>made up</b>" not in html
    assert "&lt;b&gt;made up&lt;/b&gt;" in html
    assert "<red>" not in html


def test_no_name_can_end_the_data_of_a_chart():
    run = small_run(problem={"objective": {"name": "</script><b>", "mode": "max"}})
    scripts = re.findall(
        r'<script type="application/json" id="[\w-]+">(.*?)</script>', page([run]), re.DOTALL
    )
    assert len(scripts) == 6
    for script in scripts:
        assert "<" not in script
        json.loads(script)


def test_the_page_has_the_command_of_the_search(html):
    assert "The command that started the search:" in html
    assert "fmnist-search run --hypermodel stormy:Steady --data problems:blobs" in html


def test_the_page_has_the_commands_that_resumed_the_search():
    resumed = {"resumed": [{"command": ["fmnist-search", "resume", "a run"]}, {}]}
    html = page([small_run(description=resumed)])
    assert "The commands that started and resumed the search:" in html
    assert "\nfmnist-search resume &#39;a run&#39;\n</code>" in html


def test_the_page_has_a_row_for_each_trial(html, run):
    rows = html.partition("data-sortable")[2].partition("</table>")[0]
    assert rows.count("<tr>") == 1 + run.trials.num_rows


def test_the_table_of_trials_has_every_hyperparameter_and_the_error():
    run = run_of(
        [
            trial_of(0, 0.90733, **{"hp:units": 3, "hp:rate": None}),
            trial_of(1, state="failed", error="ValueError: no\nin line 3",
                     **{"hp:units": 5, "hp:rate": 0.00123456}),
        ]
    )  # fmt: skip
    table = page([run]).partition("data-sortable")[2].partition("</table>")[0]
    cells = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall("<tr>.*?</tr>", table)
    ]
    assert cells == [
        ["trial", "ended", "epochs", "best val_accuracy", "at epoch", "train s", "rate", "units",
         "error"],
        ["0", "completed", "1", "0.9073", "1", "0.5", "", "3", ""],
        ["1", "failed", "1", "", "", "0.5", "0.001235", "5", "ValueError: no"],
    ]  # fmt: skip


def test_the_table_of_trials_counts_epochs_for_each_execution():
    run = run_of(
        [trial_of(0, 0.5, epochs=4)],
        [epoch_of(0, epoch, 0.5, 1.0, execution=n) for n in (0, 1) for epoch in (1, 2)],
    )
    table = page([run]).partition("data-sortable")[2].partition("</table>")[0]
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", table)
    assert cells[2:4] == ["trainings", "epochs each"]
    assert cells[len(cells) // 2 :][2:4] == ["2", "2"]


def test_the_facts_of_a_run_name_its_best_trial(html, run):
    best = json.loads((run.path / "best.json").read_text())
    facts = facts_of(html)
    assert facts["ended"] == "trials done"
    assert facts["best val_accuracy"] == f"{best['value']:.4f}"
    assert facts["found in"] == f"trial {best['trial']}, epoch {best['epoch']}"
    assert facts["found after"] == f"{best['at_seconds']:.0f} s"
    assert facts["trials"] == "40"


def test_the_best_configuration_has_its_active_values_in_the_order_of_the_space(html, run):
    best = html.partition("The best configuration")[2].partition("</dl>")[0]
    values = json.loads((run.path / "best.json").read_text())["values"]
    facts = facts_of(best)
    assert list(facts) == [row["name"] for row in made_up.SPACE if row["name"] in values]
    assert facts["layers"] == str(values["layers"])
    assert facts["rate"] == f"{values['rate']:.4g}"


def test_the_settings_have_the_machine_and_the_versions():
    machine = {"cores": 8, "memory_bytes": 16 * 1024**3, "system": "Linux"}
    versions = {"keras": "3.15", "ray": "2.60"}
    run = small_run(description={"machine": machine, "versions": versions})
    facts = facts_of(page([run]).partition("Settings, machine and versions")[2])
    shown = {
        "model": "stormy:Steady", "data": "problems:blobs", "space": "Steady", "engine": "ray",
        "algorithm": "tpe", "scheduler": "asha", "workers": "2", "seed": "0",
        "started": "2026-11-23 01:11 UTC", "machine": "8 cores, 16 GiB, Linux",
        "versions": "keras 3.15, ray 2.60",
    }  # fmt: skip
    assert {name: facts[name] for name in shown} == shown


def test_settings_that_are_unknown_are_left_out():
    run = small_run(
        engine="keras-tuner", tuner="hyperband", description={"machine": None, "started_at": "?"}
    )
    facts = facts_of(page([run]).partition("Settings, machine and versions")[2])
    assert facts["algorithm"] == "hyperband"
    assert not {"scheduler", "machine", "started"} & set(facts)


@pytest.mark.parametrize(("trials", "is_said"), [(19, True), (20, False)])
def test_the_importance_needs_twenty_trials(trials, is_said):
    sentence = f"needs at least 20 trials; this run has {trials}."
    assert (sentence in page([small_run(trials=trials)])) is is_said


def test_a_run_without_trials_has_a_page():
    html = before_scripts(page([run_of()]))
    assert "No epoch gave a value." in html
    assert "Nothing was retrained; <code>fmnist-search retrain</code> does it." in html
    assert "The best configuration" not in html


# --- The final model --------------------------------------------------------------------------


def test_the_final_model_has_its_scores_those_of_the_test_set_first(html):
    scores = facts_of(html.partition("The final model</h3>")[2].partition("</dl>")[0])
    assert list(scores) == [
        "test accuracy", "test loss", "mean precision of the classes", "mean recall of the classes",
        "validation accuracy", "epochs of the retraining",
    ]  # fmt: skip
    assert (scores["test loss"], scores["epochs of the retraining"]) == ("0.4000", "4")
    assert "The number of epochs was chosen on validation data" in html


def test_mistakes_are_pictures_with_their_classes(html):
    mistakes = html.partition('<ol class="mistakes">')[2].partition("</ol>")[0]
    assert mistakes.count('<img src="data:image/png;base64,') == 5
    assert mistakes.count("<li>") == 5
    assert "predicted green" in mistakes


def test_mistakes_of_samples_that_are_no_pictures_name_the_sample(tmp_path):
    path = made_up.retrained(made_up.made_up_run(tmp_path / "run", trials=1), mistakes=1)
    file = path / columns.FINAL_DIR / columns.MISTAKES_FILE
    made_up.without_pictures(file)
    html = before_scripts(page([read_run(path)]))
    assert "<br>test sample 0</p>" in html
    assert "<img" not in html


def test_a_regression_has_no_classes_and_no_mistakes():
    run = small_run(evaluation={"test_loss": 2.5e-6, "test_mae": 0.1})
    html = before_scripts(page([run]))
    assert "<dt>test loss</dt><dd>2.5e-06</dd>" in html
    assert "<dt>test mae</dt><dd>0.1000</dd>" in html
    assert "Its mistakes were not saved" not in html
    assert "Confusion matrix" not in html


@pytest.mark.parametrize(
    ("matrix", "is_said"), [([[3, 1], [0, 4]], True), ([[3, 0], [0, 4]], False)]
)
def test_mistakes_that_were_not_saved_can_be_retrained(matrix, is_said):
    classes = [
        {"name": name, "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 4} for name in "ab"
    ]
    evaluation = {"test_accuracy": 0.9, "confusion_matrix": matrix, "per_class": classes}
    html = before_scripts(page([small_run(evaluation=evaluation)]))
    assert ("Its mistakes were not saved; <code>fmnist-search retrain</code>" in html) is is_said


# --- What followed the search -----------------------------------------------------------------


def test_the_confirmation_has_a_section_with_its_table_open():
    html = before_scripts(page([small_run(confirmation=confirmation_of())]))
    assert html.count('href="#run-1-confirmed-title"') == 1
    assert "<details open><summary>Confirmed on new seeds as a table</summary>" in html
    facts = facts_of(html)
    assert (facts["mean over 5 new seeds"], facts["mean test accuracy"]) == ("0.9071", "0.9030")


def test_a_final_model_that_won_a_confirmation_says_its_seed():
    scores = {"test_accuracy": 0.9, "seed": 1, "confirmed_seeds": [1, 2, 3, 4, 5]}
    run = small_run(confirmation=confirmation_of(), evaluation=scores)
    html = before_scripts(page([run]))
    assert "The winner of the confirmation, trained on the new seed 1. Each of its" in html
    assert "The number of epochs was chosen on validation data" not in html


def test_the_audit_has_a_section():
    html = before_scripts(page([small_run(audit=audit_of())]))
    assert html.count('href="#run-1-early-stop-audit-title"') == 1
    assert "<p>4 of 120 stopped trials, drawn at random, were trained" in html


def test_a_run_that_nothing_followed_has_no_section_of_it():
    html = before_scripts(page([small_run()]))
    assert "new seeds" not in html
    assert "What early stopping cost" not in html


def test_a_candidate_with_a_name_of_markup_is_text():
    candidates = [("trial 1", 20, 0.9, (0.8, 0.9)), ("<b>mine", 20, None, (0.7, 0.8))]
    confirmation = confirmation_of(candidates, seeds=(1, 2))
    html = before_scripts(page([small_run(confirmation=confirmation)]))
    assert "<b>mine" not in html
    assert "&lt;b&gt;mine" in html


# --- Several runs -----------------------------------------------------------------------------


def comparison_of(html):
    table = html.partition('id="comparison"')[2].partition("</table>")[0]
    return re.findall(r'<tr><th scope="row">(.*?)</th>', table)


def test_several_runs_have_a_section_each_and_a_row_each():
    html = before_scripts(page([small_run(path="one"), small_run(path="two", trials=2)]))
    assert comparison_of(html) == ["two", "one"]  # best first
    assert re.findall(r'<section id="(run-\d)"', html) == ["run-1", "run-2"]
    assert "<title>one and two: search report</title>" in html
    assert 'aria-label="All trials of two"' in html


def test_the_title_names_three_runs_and_counts_on_others():
    html = page([small_run(path=name) for name in ("one", "two", "three", "four")])
    assert "<title>one and two and three and others: search report</title>" in html


def test_runs_with_the_same_name_are_named_with_their_folders():
    html = before_scripts(page([small_run(path="one/run"), small_run(path="two/run")]))
    assert sorted(comparison_of(html)) == ["one/run", "two/run"]


def test_the_progress_is_of_the_runs_with_the_objective_of_the_first():
    runs = [small_run(path="one"), small_run(path="two", problem=MIN)]
    html = before_scripts(page(runs))
    assert (
        "Not shown, because their objective is not val_accuracy or their data differ: two." in html
    )
    assert "Best val_accuracy: 0.5000 after 1 s (one)." in html
    assert "Not shown" not in before_scripts(page(runs[:1]))


def test_runs_that_differ_only_in_the_seed_are_compared_over_seeds():
    runs = [small_run(path=f"seed {seed}", problem={"seed": seed}) for seed in (1, 2)]
    runs += [small_run(path="alone", problem={"seed": 1}, workers=4)]
    incomplete = small_run(path="cut", problem={"seed": 3}, ended="cut off")
    html = before_scripts(page([*runs, incomplete]))
    over_seeds = html.partition("<h3>Over seeds</h3>")[2].partition("</table>")[0]
    assert "(reference)" in over_seeds
    assert "Skipped: &#39;cut&#39; is not complete (search: cut off)" in over_seeds
    assert "Over seeds" not in page(runs[1:])


def test_published_results_stand_beside_runs_with_their_data_and_objective():
    mine = small_run(problem={"data": DATA})
    html = before_scripts(page([mine]))
    assert "published: best of the search" in comparison_of(html)
    assert "Rows that start with “published” are results of earlier work" in html
    progress = html.partition('id="all-best-over-time">')[2].partition("</script>")[0]
    assert "published: best of the search 0.9007" in progress
    for other in (small_run(), small_run(problem={"data": DATA} | MIN)):
        assert "published" not in before_scripts(page([other]))


# --- The file ---------------------------------------------------------------------------------


def test_a_report_is_known_as_one_and_replaced(tmp_path):
    file = tmp_path / "new" / "report.html"
    assert write_report([small_run()], file) == file
    assert is_report(file)
    first = file.read_bytes()
    write_report([small_run(trials=2)], file)
    assert file.read_bytes() != first
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("content", ["", "by hand: fmnist-results report", "<html></html>"])
def test_another_file_is_no_report(tmp_path, content):
    (tmp_path / "notes.html").write_text(content)
    assert not is_report(tmp_path / "notes.html")


def test_a_folder_whose_name_is_no_text_has_a_report(tmp_path):
    path = os.fsdecode(b"run-\xff")
    write_report([small_run(path=path)], tmp_path / "report.html")
    assert "run-\ufffd" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"choose another place with --out\.$"):
        write_report([small_run()], tmp_path / "file" / "report.html")


def test_a_report_asks_for_nothing_outside_of_it(html):
    assert "Content-Security-Policy" in html
    assert re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', html) == []


def test_a_description_without_what_newer_versions_record_has_a_page(run):
    description = {name: run.description[name] for name in ("plan",)}
    html = before_scripts(page([replace(run, description=description)]))
    assert "The command that started" not in html
    assert "The best configuration" in html
