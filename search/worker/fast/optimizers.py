"""Keras's optimizers on TensorFlow's fused kernels: one pass over each variable.

Each ``update`` computes the ``update_step`` of the class in Keras 3.15 with a
``tf.raw_ops.ResourceApply*`` kernel of TensorFlow 2.21. The state stays in the optimizer's own
variables, so that saving and loading work as usual.
"""

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from search.worker.fast.arrays import NotFastError

Pairs = Sequence[tuple[tf.Tensor, Any]]  # gradient and keras.Variable

# The decay per step of Keras's Nadam, by which its momentum approaches ``beta_1``.
NADAM_DECAY = 0.96


class Coefficients:
    """The scalars of one step, computed once for each dtype of the variables.

    Keras 3.15 rounds some settings to float32, which matters for float64 variables; ``cast`` rounds
    in the same way.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        self._optimizer = optimizer
        self._scalars: dict[tuple[str, str], tf.Tensor] = {}

    def get(self, name: str, dtype: str) -> tf.Tensor:
        """Return ``step`` (from 1), ``rate`` or a setting of the optimizer, as a scalar."""
        if (name, dtype) not in self._scalars:
            self._scalars[name, dtype] = self._compute(name, dtype)
        return self._scalars[name, dtype]

    def cast(self, name: str, dtype: str) -> tf.Tensor:
        """Return a setting as ``keras.ops.cast`` converts it to a tensor."""
        return _cast(getattr(self._optimizer, name), dtype)

    def _compute(self, name: str, dtype: str) -> tf.Tensor:
        optimizer = self._optimizer
        if name == "step":
            return tf.cast(optimizer.iterations + 1, dtype)
        if name == "rate":
            return tf.cast(tf.convert_to_tensor(optimizer.learning_rate), dtype)
        if name == "momentum_decay":
            return tf.pow(self.cast("beta_1", dtype), self.get("step", dtype))
        if name == "velocity_decay":
            return tf.pow(self.cast("beta_2", dtype), self.get("step", dtype))
        return tf.constant(getattr(optimizer, name), dtype)


class FusedOptimizer(ABC):
    """Applies gradients with fused kernels, as a Keras optimizer would.

    Args:
        optimizer: A built optimizer, of exactly a class in ``FUSED``.

    Attributes:
        scratch: Variables whose values matter only within a step.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        self.optimizer = optimizer
        self.scratch: list[tf.Variable] = []

    def apply_gradients(self, gradients_and_variables: Iterable[tuple[Any, Any]]) -> None:
        """Take one step; replaces Keras's method of the same name.

        Raises:
            NotFastError: A gradient is sparse or missing.
        """
        pairs = list(gradients_and_variables)
        for gradient, variable in pairs:
            if gradient is None:
                raise NotFastError(f"no gradient reaches {variable.path}")
            if not isinstance(gradient, tf.Tensor):
                raise NotFastError(f"the gradient of {variable.path} is sparse")
        # Keras's own method, which knows the variables that do not decay.
        self.optimizer._apply_weight_decay([variable for _, variable in pairs])
        cast = [(tf.cast(gradient, variable.dtype), variable) for gradient, variable in pairs]
        self.update(cast, Coefficients(self.optimizer))
        self.optimizer.iterations.assign_add(1)

    @abstractmethod
    def update(self, pairs: Pairs, scalars: Coefficients) -> None:
        """Change the variables and the optimizer's state."""

    def slot(self, slots: Sequence[Any], variable: Any) -> tf.Tensor:
        """Return the handle of the state variable that belongs to a variable."""
        return _handle(slots[self.optimizer._get_variable_index(variable)])


class FusedSGD(FusedOptimizer):
    """Stochastic gradient descent, optionally with momentum and Nesterov's variant of it."""

    def update(self, pairs: Pairs, scalars: Coefficients) -> None:
        for gradient, variable in pairs:
            rate = scalars.get("rate", variable.dtype)
            if self.optimizer.momentum == 0:
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=_handle(variable), alpha=rate, delta=gradient
                )
                continue
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=_handle(variable),
                accum=self.slot(self.optimizer.momentums, variable),
                lr=rate,
                grad=gradient,
                momentum=scalars.cast("momentum", variable.dtype),
                use_nesterov=self.optimizer.nesterov,
            )


class FusedAdam(FusedOptimizer):
    """Adam, and AdamW, whose weight decay is applied before."""

    def update(self, pairs: Pairs, scalars: Coefficients) -> None:
        for gradient, variable in pairs:
            dtype = variable.dtype
            self.apply(
                gradient,
                variable,
                beta1=scalars.get("beta_1", dtype),
                beta2=scalars.get("beta_2", dtype),
                beta1_power=scalars.get("momentum_decay", dtype),
                beta2_power=scalars.get("velocity_decay", dtype),
                lr=scalars.get("rate", dtype),
                epsilon=scalars.get("epsilon", dtype),
            )

    def apply(self, gradient: tf.Tensor, variable: Any, **scalars: Any) -> None:
        """Call the kernel, which updates both moments and then the variable.

        It subtracts ``lr sqrt(1 - beta2_power) / (1 - beta1_power) m / (sqrt(v) + epsilon)``; with
        ``use_nesterov``, ``beta1 m + (1 - beta1) gradient`` replaces ``m``.
        """
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=self.slot(self.optimizer._momentums, variable),
            v=self.slot(self.optimizer._velocities, variable),
            grad=gradient,
            **scalars,
        )


class FusedNadam(FusedAdam):
    """Nadam, which has no kernel of its own: two other kernels during warm-up, then one.

    With ``u(t) = beta_1 (1 - 0.96^t / 2)`` and ``P(t)`` the product of ``u(1) ... u(t)``, Keras's
    step is that of Adam with ``m`` replaced by
    ``u(t+1) / (1 - P(t+1)) m + (1 - u(t)) / (1 - P(t)) g``. Adam's kernel computes the term of
    ``m``. Adagrad's kernel computes the term of ``g``, with ``v`` as its accumulator, which it does
    not update. Once ``0.96^t`` no longer changes a number of the dtype, ``u`` is ``beta_1`` and
    ``P`` is 0: exactly Adam's kernel with ``use_nesterov``.
    """

    def update(self, pairs: Pairs, scalars: Coefficients) -> None:
        product = self.optimizer._u_product
        step = scalars.get("step", product.dtype)
        # Not rounded to float32 here: Keras multiplies Python floats.
        decay = tf.constant(NADAM_DECAY, product.dtype)
        momentum = scalars.get("beta_1", product.dtype) * (1.0 - 0.5 * tf.pow(decay, step))
        product.assign(product * momentum)
        dtypes = sorted({variable.dtype for _, variable in pairs})
        factors = {dtype: self._factors(scalars, dtype) for dtype in dtypes}
        last_warm_up_step = max(warm_up_steps(dtype, self.optimizer.beta_1) for dtype in dtypes)
        tf.cond(
            self.optimizer.iterations < last_warm_up_step,
            lambda: self._warm_up(pairs, factors),
            lambda: self._settled(pairs, factors),
        )

    def _warm_up(self, pairs: Pairs, factors: dict[str, "_NadamFactors"]) -> None:
        for gradient, variable in pairs:
            scalars = factors[variable.dtype]
            self.apply(
                gradient, variable, lr=scalars.rate * scalars.momentum_factor, **scalars.shared
            )
            tf.raw_ops.ResourceApplyAdagradV2(
                var=_handle(variable),
                accum=self.slot(self.optimizer._velocities, variable),
                lr=scalars.rate * scalars.gradient_factor,
                epsilon=scalars.shared["epsilon"],
                grad=gradient,
                update_slots=False,
            )

    def _settled(self, pairs: Pairs, factors: dict[str, "_NadamFactors"]) -> None:
        for gradient, variable in pairs:
            scalars = factors[variable.dtype]
            self.apply(gradient, variable, lr=scalars.rate, use_nesterov=True, **scalars.shared)

    def _factors(self, scalars: Coefficients, dtype: str) -> "_NadamFactors":
        step = scalars.get("step", dtype)
        momentum = self._momentum(step, dtype)
        next_momentum = self._momentum(step + 1.0, dtype)
        product = tf.cast(self.optimizer._u_product.value, dtype)
        correction = tf.sqrt(1.0 - scalars.get("velocity_decay", dtype))
        return _NadamFactors(
            rate=scalars.get("rate", dtype) * correction,
            momentum_factor=next_momentum / (1.0 - product * next_momentum),
            gradient_factor=(1.0 - momentum) / (1.0 - product),
            shared={
                "beta1": scalars.cast("beta_1", dtype),
                "beta2": scalars.cast("beta_2", dtype),
                "beta1_power": tf.zeros((), dtype),
                "beta2_power": tf.zeros((), dtype),
                "epsilon": scalars.get("epsilon", dtype) * correction,
            },
        )

    def _momentum(self, step: tf.Tensor, dtype: str) -> tf.Tensor:
        """Return ``u(step)``."""
        decay = _cast(NADAM_DECAY, dtype)
        return _cast(self.optimizer.beta_1, dtype) * (1.0 - 0.5 * tf.pow(decay, step))


@dataclass(frozen=True)
class _NadamFactors:
    """The scalars of a step of Nadam.

    Attributes:
        rate: The learning rate, which includes the bias correction of ``v``, as does epsilon.
        momentum_factor: The factor of ``m``.
        gradient_factor: The factor of ``g``.
        shared: The kernel arguments that do not depend on the warm-up.
    """

    rate: tf.Tensor
    momentum_factor: tf.Tensor
    gradient_factor: tf.Tensor
    shared: dict[str, tf.Tensor]


class FusedRMSprop(FusedOptimizer):
    """RMSprop, plain, centered, and with momentum."""

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        super().__init__(optimizer)
        # The kernel requires a momentum variable, which it overwrites in each step.
        self.scratch = [
            tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False)
            for variable in (() if optimizer.momentum else optimizer._velocities)
        ]

    def update(self, pairs: Pairs, scalars: Coefficients) -> None:
        optimizer = self.optimizer
        for gradient, variable in pairs:
            index = optimizer._get_variable_index(variable)
            momentum = (
                _handle(optimizer._momentums[index])
                if optimizer.momentum
                else self.scratch[index].handle
            )
            arguments = {
                "var": _handle(variable),
                "ms": self.slot(optimizer._velocities, variable),
                "mom": momentum,
                "lr": scalars.get("rate", variable.dtype),
                "rho": scalars.get("rho", variable.dtype),
                "momentum": scalars.get("momentum", variable.dtype),
                "epsilon": scalars.get("epsilon", variable.dtype),
                "grad": gradient,
            }
            if optimizer.centered:
                mean = self.slot(optimizer._average_gradients, variable)
                tf.raw_ops.ResourceApplyCenteredRMSProp(mg=mean, **arguments)
            else:
                tf.raw_ops.ResourceApplyRMSProp(**arguments)


# Exact classes only: a subclass may behave differently.
FUSED: dict[type, type[FusedOptimizer]] = {
    keras.optimizers.SGD: FusedSGD,
    keras.optimizers.Adam: FusedAdam,
    keras.optimizers.AdamW: FusedAdam,
    keras.optimizers.Nadam: FusedNadam,
    keras.optimizers.RMSprop: FusedRMSprop,
}


def warm_up_steps(dtype: str, beta_1: float) -> int:
    """Return the step after which neither ``0.96^t / 2`` nor ``beta_1^t`` changes 1 in a dtype."""
    # 1 - x rounds to 1 for x up to a quarter of the dtype's epsilon.
    threshold = float(tf.experimental.numpy.finfo(dtype).eps) / 4
    slowest = max(NADAM_DECAY, beta_1)
    return math.ceil(math.log(threshold) / math.log(slowest)) if slowest < 1 else 2**31 - 1


@contextlib.contextmanager
def fused(optimizer: keras.optimizers.Optimizer) -> Iterator[FusedOptimizer]:
    """Make an optimizer apply gradients with fused kernels in functions traced inside."""
    fused_optimizer = FUSED[type(optimizer)](optimizer)
    optimizer.apply_gradients = fused_optimizer.apply_gradients
    try:
        yield fused_optimizer
    finally:
        del optimizer.apply_gradients


def _cast(value: float, dtype: str) -> tf.Tensor:
    return tf.cast(tf.constant(value, "float32"), dtype)


def _handle(variable: Any) -> tf.Tensor:
    return variable.value.handle
