"""What stands in for a model's ``fit``: it takes the fast path where that is known to be right."""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from search.errors import one_line
from search.worker.checkpoint import Checkpoints, KeepState
from search.worker.fast.arrays import NotFastError
from search.worker.fast.epoch import CompiledTraining, Logs
from search.worker.fast.randomness import EpochRandomness
from search.worker.fast.reasons import reasons
from search.worker.laps import COMPILE, LAPS

FAST, KERAS = "fast", "keras"
SIGNATURE = inspect.signature(keras.Model.fit)
# Of a training that is continued on Keras's path, which cannot promise the same bits.
SHUFFLED_ANEW = "the order of its samples began anew"
# Keras's fit is fed one element an epoch; by its name the compiled functions know their own.
MARK = "whole_epoch"


@dataclass(frozen=True)
class PathTaken:
    """How a training ran.

    Attributes:
        name: ``fast``, ``keras``, or ``own`` where Keras's ``fit`` is not called at all.
        reason: Why it was not fast.
        continued_from: Epochs that an interrupted process had trained before.
    """

    name: str
    reason: str | None = None
    continued_from: int = 0


OWN_LOOP = PathTaken("own", "the training loop is the user's own")


def install(
    model: keras.Model, *, seed: int, fast: bool = True, checkpoints: Checkpoints | None = None
) -> "Fit":
    """Have a model's ``fit`` take the fast path where it can.

    Args:
        model: As its builder returned it.
        seed: What every random number of the training follows from, on the fast path.
        fast: False takes Keras's path always.
        checkpoints: Where the training's state is kept and continued from.

    Returns:
        What stands in for ``fit``, unless the model has one of its own.
    """
    fit = Fit(model, seed=seed, fast=fast, checkpoints=checkpoints)
    if type(model).fit is keras.Model.fit:
        model.fit = fit
    return fit


class Fit:
    """A model's ``fit``, on either path."""

    def __init__(
        self, model: keras.Model, *, seed: int, fast: bool, checkpoints: Checkpoints | None
    ) -> None:
        self._model = model
        self._seed = seed
        self._fast = fast
        self._checkpoints = checkpoints
        self._calls = -1
        self._compiled: CompiledTraining | None = None
        self.path = OWN_LOOP

    def __call__(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train, as ``keras.Model.fit`` of Keras 3.15 does and with its arguments."""
        self._calls += 1
        if self._calls and self._checkpoints:
            # What is kept does not tell in which call of fit it was: the trial would start over.
            self._checkpoints.remove()
            self._checkpoints = None
        bound = SIGNATURE.bind(self._model, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        del arguments["self"]
        prepared = self._prepared(arguments)
        callbacks, epochs_before = self._with_state_kept(arguments["callbacks"])
        LAPS.lap(COMPILE)
        if isinstance(prepared, str):
            begins_anew = epochs_before and arguments["shuffle"]
            reason = f"{prepared}; {SHUFFLED_ANEW}" if begins_anew else prepared
            self.path = PathTaken(KERAS, reason, epochs_before)
            return keras.Model.fit(self._model, **arguments | {"callbacks": callbacks})
        self.path = PathTaken(FAST, None, epochs_before)
        with prepared.in_place():
            return keras.Model.fit(self._model, **prepared.arguments(callbacks))

    def _prepared(self, arguments: dict[str, Any]) -> "_FastFit | str":
        """Return the compiled training, or why there is none."""
        if not self._fast:
            return "switched off"
        try:
            for reason in reasons(self._model, arguments):
                return reason
            is_new = self._compiled is None or not self._compiled.serves(arguments)
            if self._compiled is None or is_new:
                self._compiled = CompiledTraining(self._model, arguments)
            return _FastFit(
                self._model,
                arguments,
                compiled=self._compiled,
                is_new=is_new,
                seed=self._seed,
                call=self._calls,
            )
        except NotFastError as reason:
            return str(reason)
        except Exception as error:  # if it is the user's, Keras's path meets it again and tells
            return f"it could not be compiled: {one_line(error)}"

    def _with_state_kept(self, callbacks: Any) -> tuple[Any, int]:
        """Return the callbacks, with one last that keeps the state and puts it back.

        Returns:
            The callbacks, and how many epochs had been trained when that state was kept.
        """
        if isinstance(callbacks, keras.callbacks.CallbackList):
            return callbacks, 0
        callbacks = keras.tree.flatten(callbacks) if callbacks else []
        if self._checkpoints is None:
            return callbacks, 0
        model, checkpoint = self._model, self._checkpoints.newest()
        if checkpoint is not None:
            if model.built:
                model.optimizer.build(model.trainable_variables)
            if not model.built or not checkpoint.fits(model):
                checkpoint = None  # not this model's: it starts over
            else:
                self._checkpoints.restore_best_weights()
        watched = [*callbacks, keras.callbacks.History()]
        keeper = KeepState(self._checkpoints, watched, checkpoint)
        return [*watched, keeper], checkpoint.epochs if checkpoint else 0


class _FastFit:
    """One call of ``fit`` on the fast path."""

    def __init__(
        self,
        model: keras.Model,
        arguments: dict[str, Any],
        *,
        compiled: CompiledTraining,
        is_new: bool,
        seed: int,
        call: int,
    ) -> None:
        self._model = model
        self._arguments = arguments
        self._compiled = compiled
        self._may_be_outdated = is_new
        self._seed = seed
        self._call = call
        self._epoch = 0

    def arguments(self, callbacks: list[Any]) -> dict[str, Any]:
        """Return what Keras's ``fit`` is called with."""
        asked = self._arguments
        watch = keras.callbacks.LambdaCallback(on_epoch_begin=self._begin_epoch)
        return {
            "x": _one_element(),
            "epochs": asked["epochs"],
            "initial_epoch": asked["initial_epoch"],
            "validation_data": _one_element() if self._compiled.validation else None,
            "validation_freq": asked["validation_freq"],
            "verbose": asked["verbose"],
            "shuffle": False,  # of our one element
            "callbacks": keras.callbacks.CallbackList(
                [watch, *callbacks],
                add_history=True,
                add_progbar=asked["verbose"] != 0,
                verbose=asked["verbose"],
                epochs=asked["epochs"],
                steps=math.ceil(self._compiled.arrays.samples / self._compiled.batch_size),
                model=self._model,
            ),
        }

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the model's loops run the compiled epochs, in what happens inside."""
        model = self._model
        before = model.train_function, model.test_function
        try:
            model.train_function = self._or_kerass_own("train", before[0], self._train)
            model.test_function = self._or_kerass_own("test", before[1], self._test)
            model.make_train_function = self._again(self._compiled.trace_training)
            model.make_test_function = self._again(self._compiled.trace_validation)
            yield
        finally:
            del model.make_train_function, model.make_test_function
            model.train_function, model.test_function = before

    def _again(self, trace: Callable[[], None]) -> Callable[[bool], None]:
        """Return what takes the place of ``make_train_function``: a callback may ask for it."""

        def make(force: bool = False) -> None:
            if force:
                trace()

        return make

    def _begin_epoch(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def _train(self) -> Logs:
        compiled = self._compiled
        if self._may_be_outdated and compiled.is_outdated():
            compiled.trace_training()
        self._may_be_outdated = False
        randomness = EpochRandomness.of(
            self._seed,
            self._call,
            self._epoch,
            samples=compiled.arrays.samples,
            shuffles=bool(self._arguments["shuffle"]),
            layers=compiled.training.random_layers,
        )
        return compiled.training.run(randomness)

    def _test(self) -> Logs:
        assert self._compiled.validation is not None
        return self._compiled.validation.run()

    def _or_kerass_own(
        self, kind: str, known: Any, compiled: Callable[[], Logs]
    ) -> Callable[[Any], Logs]:
        """Return a function that runs a whole epoch where it is fed our one element.

        A callback may train or evaluate on data of its own meanwhile.
        """

        def function(iterator: Any) -> Logs:
            nonlocal known
            spec = getattr(iterator, "element_spec", None)
            if isinstance(spec, dict) and MARK in spec:
                return compiled()
            known = known or self._kerass_own(kind)
            logs: Logs = known(iterator)
            return logs

        return function

    def _kerass_own(self, kind: str) -> Any:
        name = f"{kind}_function"
        ours = getattr(self._model, name)
        getattr(keras.Model, f"make_{kind}_function")(self._model, force=True)
        made = getattr(self._model, name)
        setattr(self._model, name, ours)
        return made


def _one_element() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors({MARK: tf.constant(0)})
