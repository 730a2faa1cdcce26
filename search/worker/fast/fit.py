"""Replaces a model's ``fit``, which then takes the fast path if that gives the same numbers."""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
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
# For a training that continues on Keras's path, where the bits may differ.
SHUFFLED_ANEW = "the order of its samples started over"
# The name of the single element that Keras's fit gets for an epoch of the fast path.
MARK = "whole_epoch"


@dataclass(frozen=True)
class PathTaken:
    """How a training ran.

    Attributes:
        name: ``fast``, ``keras``, or ``own`` if Keras's ``fit`` is not called at all.
        reason: Why the training was not fast; None if it was.
        continued_from: Epochs that an interrupted process had trained before.
    """

    name: str
    reason: str | None = None
    continued_from: int = 0


OWN_LOOP = PathTaken("own", "the training loop is the user's own")


def install(
    model: keras.Model,
    *,
    seed: int,
    fast: bool = True,
    checkpoints: Checkpoints | None = None,
    complete: Callable[[Any], Any] | None = None,
) -> "Fit":
    """Replace a model's ``fit`` by one that takes the fast path if it can.

    Args:
        model: The model from the builder.
        seed: Determines all random numbers of the training on the fast path.
        fast: Whether to try the fast path.
        checkpoints: Save the training's state, and continue from it; None: neither.
        complete: Returns the callbacks of ``fit`` with those that the caller may have left out;
            None: they are complete.

    Returns:
        The replacement. It is not installed in a model that has its own ``fit``.
    """
    fit = Fit(model, seed=seed, fast=fast, checkpoints=checkpoints, complete=complete)
    if type(model).fit is keras.Model.fit:
        model.fit = fit
    return fit


def first_validation(arguments: Mapping[str, Any]) -> int:
    """Return the first epoch, from 1, after which ``fit`` validates, or its last if that is before.

    Of a training that never validates, it is the first epoch.

    Args:
        arguments: The arguments of ``fit``, including defaults.
    """
    frequency, before = arguments["validation_freq"], arguments["initial_epoch"]
    validates = arguments["validation_data"] is not None or arguments["validation_split"]
    if not validates:
        return int(before) + 1
    if isinstance(frequency, int) and frequency > 0:
        first = (before // frequency + 1) * frequency
    else:
        listed = frequency if isinstance(frequency, list) else []
        first = min((epoch for epoch in listed if epoch > before), default=before + 1)
    return int(min(first, arguments["epochs"]))


class Fit:
    """A replacement of a model's ``fit``, on either path.

    Attributes:
        path: How the newest training runs.
        first_validation: The first epoch of it, from 1, that is validated.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        seed: int,
        fast: bool,
        checkpoints: Checkpoints | None,
        complete: Callable[[Any], Any] | None,
    ) -> None:
        self._model = model
        self._seed = seed
        self._fast = fast
        self._checkpoints = checkpoints
        self._complete = complete
        self._calls = -1
        self._compiled: CompiledTraining | None = None
        self.path = OWN_LOOP
        self.first_validation = 1

    def __call__(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train, as ``keras.Model.fit`` of Keras 3.15 does and with its arguments."""
        self._calls += 1
        if self._calls and self._checkpoints:
            # A state does not tell its call of fit: a continued trial must start over.
            self._checkpoints.remove()
            self._checkpoints = None
        bound = SIGNATURE.bind(self._model, *args, **kwargs)
        if self._complete is not None:
            callbacks = self._complete(bound.arguments.get("callbacks"))
            bound.arguments |= {"verbose": 0} | bound.arguments | {"callbacks": callbacks}
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        del arguments["self"]
        self.first_validation = first_validation(arguments)
        fast_fit, reason = self._compile(arguments)
        callbacks, epochs_before = self._with_checkpoints(arguments["callbacks"])
        LAPS.lap(COMPILE)
        if fast_fit is None:
            if epochs_before and arguments["shuffle"]:
                reason = f"{reason}; {SHUFFLED_ANEW}"
            self.path = PathTaken(KERAS, reason, epochs_before)
            return keras.Model.fit(self._model, **arguments | {"callbacks": callbacks})
        self.path = PathTaken(FAST, None, epochs_before)
        with fast_fit.installed():
            return keras.Model.fit(self._model, **fast_fit.arguments(callbacks))

    def _compile(self, arguments: dict[str, Any]) -> "tuple[_FastFit | None, str | None]":
        """Return the compiled call of ``fit``, or None and the reason."""
        if not self._fast:
            return None, "switched off"
        try:
            for reason in reasons(self._model, arguments):
                return None, reason
            is_new = self._compiled is None or not self._compiled.serves(arguments)
            if self._compiled is None or is_new:
                self._compiled = CompiledTraining(self._model, arguments)
            fast_fit = _FastFit(
                self._model,
                arguments,
                compiled=self._compiled,
                is_new=is_new,
                seed=self._seed,
                call=self._calls,
            )
        except NotFastError as error:
            return None, str(error)
        except Exception as error:  # an error of the user's code is raised again on Keras's path
            return None, f"it could not be compiled: {one_line(error)}"
        return fast_fit, None

    def _with_checkpoints(self, callbacks: Any) -> tuple[Any, int]:
        """Append the callback that restores and saves the training's state.

        Returns:
            The callbacks, and the number of epochs in the restored state.
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
                checkpoint = None  # of another model: start over
            else:
                self._checkpoints.restore_best_weights()
        callbacks = [*callbacks, keras.callbacks.History()]
        keep_state = KeepState(self._checkpoints, callbacks, checkpoint)
        return [*callbacks, keep_state], checkpoint.epochs if checkpoint else 0


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
        """Return the arguments for Keras's ``fit``."""
        arguments = self._arguments
        track_epoch = keras.callbacks.LambdaCallback(on_epoch_begin=self._begin_epoch)
        return {
            "x": _one_element(),
            "epochs": arguments["epochs"],
            "initial_epoch": arguments["initial_epoch"],
            "validation_data": _one_element() if self._compiled.validation else None,
            "validation_freq": arguments["validation_freq"],
            "verbose": arguments["verbose"],
            "shuffle": False,  # there is one element
            "callbacks": keras.callbacks.CallbackList(
                [track_epoch, *callbacks],
                add_history=True,
                add_progbar=arguments["verbose"] != 0,
                verbose=arguments["verbose"],
                epochs=arguments["epochs"],
                steps=math.ceil(self._compiled.arrays.samples / self._compiled.batch_size),
                model=self._model,
            ),
        }

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Make the model's loops run the compiled epochs inside the context."""
        model = self._model
        train_function, test_function = model.train_function, model.test_function
        try:
            model.train_function = self._epoch_function("train", train_function, self._train)
            model.test_function = self._epoch_function("test", test_function, self._test)
            model.make_train_function = self._make_function(self._compiled.trace_training)
            model.make_test_function = self._make_function(self._compiled.trace_validation)
            yield
        finally:
            del model.make_train_function, model.make_test_function
            model.train_function, model.test_function = train_function, test_function

    def _make_function(self, trace: Callable[[], None]) -> Callable[[bool], None]:
        """Return a replacement of ``make_train_function``, which a callback may call."""

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

    def _epoch_function(
        self, kind: str, keras_function: Any, compiled_epoch: Callable[[], Logs]
    ) -> Callable[[Any], Logs]:
        """Return a function that runs the compiled epoch if it gets our one element.

        A callback may train or evaluate on other data, which takes Keras's function.
        """

        def function(iterator: Any) -> Logs:
            nonlocal keras_function
            spec = getattr(iterator, "element_spec", None)
            if isinstance(spec, dict) and MARK in spec:
                return compiled_epoch()
            keras_function = keras_function or self._make_keras_function(kind)
            logs: Logs = keras_function(iterator)
            return logs

        return function

    def _make_keras_function(self, kind: str) -> Any:
        name = f"{kind}_function"
        installed = getattr(self._model, name)
        getattr(keras.Model, f"make_{kind}_function")(self._model, force=True)
        keras_function = getattr(self._model, name)
        setattr(self._model, name, installed)
        return keras_function


def _one_element() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors({MARK: tf.constant(0)})
