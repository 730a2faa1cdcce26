"""The way back to Keras and keras-tuner: hyperparameters.json, and the card of a Keras model."""

import json
import tempfile
from pathlib import Path

import keras
import keras_tuner as kt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_up_runs import Notes, RunWriter, write_every_end
from made_up_spaces import configs, configurations, declare, is_sound, nested, programs

from results.record.columns import State
from search.algorithms.drawing import RandomSearcher
from search.exchange.export import Part, export_run
from search.space import mirror
from search.worker import process
from search.worker.task import NamedObject


def exported_hyperparameters(writer, out):
    """Return the exported hyperparameters, read as the printed line says."""
    export_run(writer.close(), out, Notes(), only=[Part.HYPERPARAMETERS])
    return kt.HyperParameters.from_config(json.loads((out / "hyperparameters.json").read_text()))


def typed(values):
    return {name: (type(value), value) for name, value in values.items()}


@given(programs(), st.data())
@settings(max_examples=60, deadline=None)
def test_keras_tuner_reads_back_the_space_and_the_values_of_the_best_trial(program, data):
    original = kt.HyperParameters()
    declare(program, original)
    assume(is_sound(original))
    space = mirror.mirror_space(original.space)
    original.values = data.draw(configurations(space))
    with tempfile.TemporaryDirectory() as scratch:
        writer = RunWriter(Path(scratch) / "run", space)
        writer.trial(0, original.values, [0.5], State.COMPLETED)
        back = exported_hyperparameters(writer, Path(scratch) / "out")
    assert typed(back.values) == typed(original.values)
    assert configs(back) == configs(original)
    for mine, theirs in zip(back.space, original.space, strict=True):
        assert type(mine) is type(theirs)
        assert (type(mine.default), mine.default) == (type(theirs.default), theirs.default)
        assert back.is_active(mine) == original.is_active(theirs)
    # A builder that declares the same registers nothing new, and gets the same values.
    known = len(back.space)
    assert declare(program, back) == declare(program, original)
    assert len(back.space) == known
    assert typed(back.values) == typed(original.values)


@pytest.mark.parametrize(
    "reference", ["fmnist_model.mlp:published", "fmnist_model.mlp:Wide", "problems:in_scopes"]
)
def test_a_builder_builds_the_best_model_and_registers_nothing_new(tmp_path, reference):
    hypermodel = process.load_hypermodel(NamedObject(reference))
    space = mirror.discover_space(hypermodel)
    writer = RunWriter(tmp_path / "run", space)
    for trial in (1, 2, 3):
        best_values = RandomSearcher(space, seed=4).propose(trial)
        writer.trial(trial, best_values, [trial / 10], State.COMPLETED)
    hp = exported_hyperparameters(writer, tmp_path / "out")
    assert hp.values == best_values
    declared_by_builder = mirror.prepare_hyperparameters(hypermodel, {})
    hypermodel.build(declared_by_builder)
    known = configs(hp)
    assert known == configs(declared_by_builder)
    prepared = mirror.prepare_hyperparameters(hypermodel, best_values)
    assert built(hypermodel, hp) == built(hypermodel, prepared)
    assert configs(hp) == known
    assert hp.values == best_values


def built(hypermodel, hp):
    keras.utils.clear_session(free_memory=False)  # layers are numbered anew
    model = hypermodel.build(hp)
    return model.get_config(), model.get_compile_config()


def test_scopes_within_scopes_and_declared_defaults_are_in_the_config(tmp_path):
    def declare_all(hp):
        nested(hp)
        with hp.conditional_scope("kind", ["b", "c"]), hp.conditional_scope("deep", [True]):
            hp.Float("share", 0.1, 0.9, step=0.2, default=0.5)
            hp.Boolean("wide", default=True)
            hp.Choice("order", [3, 1, 2], default=1, ordered=False)

    values = {"kind": "b", "deep": False, "head/size": 4}
    original = kt.HyperParameters()
    original.values = {"kind": "c"}
    declare_all(original)
    original.values = dict(values)
    writer = RunWriter(tmp_path / "run", mirror.mirror_space(original.space))
    writer.trial(0, values, [0.5], State.COMPLETED)
    back = exported_hyperparameters(writer, tmp_path / "out")
    assert configs(back) == configs(original)
    active = {parameter.name for parameter in back.space if back.is_active(parameter)}
    assert active == {"kind", "deep", "head/size"}
    declare_all(back)
    assert configs(back) == configs(original)
    assert back.values == values


def test_parameters_that_a_trial_was_the_first_to_register_are_in_the_config(tmp_path):
    hypermodel = process.load_hypermodel(NamedObject("problems:growing"))
    space = mirror.discover_space(hypermodel)
    deep = mirror.prepare_hyperparameters(hypermodel, {"layers": 3})
    hypermodel.build(deep)
    values, added = dict(deep.values), space.unknown_parameters(mirror.mirror_space(deep.space))
    assert {parameter.name for parameter in added} == {"units_1", "units_2"}
    writer = RunWriter(tmp_path / "run", space)
    writer.recorder.space_grown(added.to_json())
    writer.trial(0, values, [0.5], State.COMPLETED)
    hp = exported_hyperparameters(writer, tmp_path / "out")
    assert {parameter.name for parameter in hp.space} == {p.name for p in deep.space}
    known = len(hp.space)
    hypermodel.build(hp)
    assert (len(hp.space), hp.values) == (known, values)


def squared(true, predicted):
    return keras.ops.square(true - predicted)


def test_the_card_of_a_saved_model_names_its_input_and_its_custom_objects(tmp_path):
    run = write_every_end(tmp_path / "run")
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.Dense(1)])
    model.compile("sgd", squared)
    (run / "final").mkdir()
    model.save(run / "final" / "model.keras")
    evaluation = {"test_mse": 0.25, "epochs": 2, "seed": 0, "trial": 1, "values": {"a|b": 0.015}}
    (run / "final" / "evaluation.json").write_text(json.dumps(evaluation))
    export_run(run, tmp_path / "out", Notes(), only=[Part.MODEL])
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert r"| a\|b | 0.015 |" in card
    assert "an array of shape (n, 4, 2)" in card
    assert "It uses custom objects: `squared`." in card
    assert "classes" not in card.lower()
