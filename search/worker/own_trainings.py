"""Reports the trainings that a script's own ``run_trial`` runs itself. Imports Keras."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras

from search.worker import fast
from search.worker.callbacks import Reporter


class OwnTrainings:
    """The trainings of a trial that do not pass through keras-tuner.

    Args:
        make_reporter: Returns a new reporter of the trial.
        calls_fit: Whether the tuner overrides ``run_trial``, which may call ``fit`` itself.
    """

    def __init__(self, make_reporter: Callable[[], Reporter], calls_fit: bool) -> None:
        self._make_reporter = make_reporter
        self._calls_fit = calls_fit
        self._reporter: Reporter | None = None
        self._trainings = 0

    def reporter_of(self, model: Any) -> Reporter:
        """Return the reporter of these trainings, set to a model."""
        reporter = self._get_reporter()
        reporter.set_model(model)
        return reporter

    @contextlib.contextmanager
    def reporting_fits(self, install: Callable[[keras.Model, int], None]) -> Iterator[None]:
        """Report the epochs of each ``fit`` that ``run_trial`` calls inside the context.

        Args:
            install: Lets a model take the fast path; its other argument is the number of the
                training.
        """
        if not self._calls_fit:
            yield
            return
        keras_fit = keras.Model.fit

        @functools.wraps(keras_fit)
        def fit(model: keras.Model, *args: Any, **kwargs: Any) -> Any:
            if type(model).fit is fit and "fit" not in vars(model):
                install(model, self._trainings)
                self._trainings += 1
                return model.fit(*args, **kwargs)
            arguments = fast.SIGNATURE.bind(model, *args, **kwargs).arguments
            callbacks = self.complete(arguments.get("callbacks"))
            return keras_fit(**{"verbose": 0} | arguments | {"callbacks": callbacks})

        keras.Model.fit = fit
        try:
            yield
        finally:
            del keras.Model.fit  # Keras defines it in a base class

    def complete(self, callbacks: Any) -> Any:
        """Append the reporter to the callbacks of ``fit``, unless they have one or need none."""
        if not self._calls_fit or isinstance(callbacks, keras.callbacks.CallbackList):
            return callbacks
        callbacks = keras.tree.flatten(callbacks) if callbacks else []
        if any(isinstance(callback, Reporter) for callback in callbacks):
            return callbacks
        return [*callbacks, self._get_reporter()]

    def _get_reporter(self) -> Reporter:
        if self._reporter is None:
            self._reporter = self._make_reporter()
        return self._reporter
