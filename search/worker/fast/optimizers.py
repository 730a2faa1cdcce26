"""Keras's optimizers in TensorFlow's fused kernels: one pass over each variable.

Each rule below is the ``update_step`` of the class in Keras 3.15, brought into the form of a
``tf.raw_ops.ResourceApply*`` kernel of TensorFlow 2.21. State stays in the optimizer's own
variables, so that it can be saved, read and continued as ever.
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

# Keras's Nadam lets the weight of the newest gradient fade in by this factor a step.
NADAM_DECAY = 0.96


class Coefficients:
    """The scalars of one step, once for each dtype among the variables.

    Keras 3.15 casts some of its settings by way of float32, which a float64 training shows; what
    is asked for by ``cast`` here is rounded likewise.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        self._optimizer = optimizer
        self._known: dict[tuple[str, str], tf.Tensor] = {}

    def get(self, name: str, dtype: str) -> tf.Tensor:
        """Return ``step`` (from 1), ``rate`` or a setting of the optimizer, as a scalar."""
        if (name, dtype) not in self._known:
            self._known[name, dtype] = self._made(name, dtype)
        return self._known[name, dtype]

    def cast(self, name: str, dtype: str) -> tf.Tensor:
        """Return a setting as ``keras.ops.cast`` makes a tensor of it."""
        return _cast(getattr(self._optimizer, name), dtype)

    def _made(self, name: str, dtype: str) -> tf.Tensor:
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
    """Applies gradients as an optimizer of Keras would.

    Args:
        optimizer: One of the exact classes in ``FUSED``, built.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        self.optimizer = optimizer
        self.scratch: list[tf.Variable] = []  # of no meaning between two steps

    def apply_gradients(self, gradients_and_variables: Iterable[tuple[Any, Any]]) -> None:
        """Take one step; stands in for the method of the same name.

        Raises:
            NotFastError: A gradient is sparse or missing.
        """
        pairs = list(gradients_and_variables)
        for gradient, variable in pairs:
            if gradient is None:
                raise NotFastError(f"no gradient reaches {variable.path}")
            if not isinstance(gradient, tf.Tensor):
                raise NotFastError(f"the gradient of {variable.path} is sparse")
        # Keras's own rule, with its list of variables that do not decay.
        self.optimizer._apply_weight_decay([variable for _, variable in pairs])
        cast = [(tf.cast(gradient, variable.dtype), variable) for gradient, variable in pairs]
        self.update(cast, Coefficients(self.optimizer))
        self.optimizer.iterations.assign_add(1)

    @abstractmethod
    def update(self, pairs: Pairs, scalars: Coefficients) -> None:
        """Change the variables and the optimizer's state."""

    def slot(self, slots: Sequence[Any], variable: Any) -> tf.Tensor:
        """Return the handle of the state that belongs to a variable."""
        return _handle(slots[self.optimizer._get_variable_index(variable)])


class FusedSGD(FusedOptimizer):
    """Stochastic gradient descent, with momentum and Nesterov's where asked for."""

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
    """Adam, and AdamW, whose weight decay was applied before."""

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

        It takes off ``lr sqrt(1 - beta2_power) / (1 - beta1_power) m / (sqrt(v) + epsilon)``; with
        ``use_nesterov``, ``beta1 m + (1 - beta1) gradient`` is in the place of ``m``.
        """
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=self.slot(self.optimizer._momentums, variable),
            v=self.slot(self.optimizer._velocities, variable),
            grad=gradient,
            **scalars,
        )


class FusedNadam(FusedAdam):
    """Nadam, for which there is no kernel: two of others' while it warms up, then one.

    With ``u(t) = beta_1 (1 - 0.96^t / 2)`` and ``P(t)`` the product of ``u(1) ... u(t)``, Keras's
    step is that of Adam with ``m`` replaced by
    ``u(t+1) / (1 - P(t+1)) m + (1 - u(t)) / (1 - P(t)) g``. The part of ``m`` is Adam's kernel; the
    part of ``g`` is Adagrad's, told to leave its accumulator, here ``v``, alone. Once ``0.96^t``
    no longer changes a number of the dtype, ``u`` is ``beta_1`` and ``P`` is 0: that is Adam's
    kernel with ``use_nesterov``, to the last digit of the formula.
    """

    def update(self, pairs: Pairs, scalars: Coefficients) -> None:
        product = self.optimizer._u_product
        step = scalars.get("step", product.dtype)
        # Not cast by way of float32 here: Keras multiplies Python's own numbers.
        decay = tf.constant(NADAM_DECAY, product.dtype)
        fade = scalars.get("beta_1", product.dtype) * (1.0 - 0.5 * tf.pow(decay, step))
        product.assign(product * fade)
        dtypes = sorted({variable.dtype for _, variable in pairs})
        factors = {dtype: self._factors(scalars, dtype) for dtype in dtypes}
        warm = max(warm_up_steps(dtype, self.optimizer.beta_1) for dtype in dtypes)
        tf.cond(
            self.optimizer.iterations < warm,
            lambda: self._warm_up(pairs, factors),
            lambda: self._settled(pairs, factors),
        )

    def _warm_up(self, pairs: Pairs, factors: dict[str, "_NadamFactors"]) -> None:
        for gradient, variable in pairs:
            its = factors[variable.dtype]
            self.apply(gradient, variable, lr=its.rate * its.of_momentum, **its.of_both)
            tf.raw_ops.ResourceApplyAdagradV2(
                var=_handle(variable),
                accum=self.slot(self.optimizer._velocities, variable),
                lr=its.rate * its.of_gradient,
                epsilon=its.of_both["epsilon"],
                grad=gradient,
                update_slots=False,
            )

    def _settled(self, pairs: Pairs, factors: dict[str, "_NadamFactors"]) -> None:
        for gradient, variable in pairs:
            its = factors[variable.dtype]
            self.apply(gradient, variable, lr=its.rate, use_nesterov=True, **its.of_both)

    def _factors(self, scalars: Coefficients, dtype: str) -> "_NadamFactors":
        step = scalars.get("step", dtype)
        now, later = self._faded_in(step, dtype), self._faded_in(step + 1.0, dtype)
        product = tf.cast(self.optimizer._u_product.value, dtype)
        correction = tf.sqrt(1.0 - scalars.get("velocity_decay", dtype))
        return _NadamFactors(
            rate=scalars.get("rate", dtype) * correction,
            of_momentum=later / (1.0 - product * later),
            of_gradient=(1.0 - now) / (1.0 - product),
            of_both={
                "beta1": scalars.cast("beta_1", dtype),
                "beta2": scalars.cast("beta_2", dtype),
                "beta1_power": tf.zeros((), dtype),
                "beta2_power": tf.zeros((), dtype),
                "epsilon": scalars.get("epsilon", dtype) * correction,
            },
        )

    def _faded_in(self, step: tf.Tensor, dtype: str) -> tf.Tensor:
        decay = _cast(NADAM_DECAY, dtype)
        return _cast(self.optimizer.beta_1, dtype) * (1.0 - 0.5 * tf.pow(decay, step))


@dataclass(frozen=True)
class _NadamFactors:
    """Scalars of a step of Nadam; rate and epsilon such that ``v`` needs no bias correction."""

    rate: tf.Tensor
    of_momentum: tf.Tensor
    of_gradient: tf.Tensor
    of_both: dict[str, tf.Tensor]


class FusedRMSprop(FusedOptimizer):
    """RMSprop, plain, centered, and with momentum."""

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        super().__init__(optimizer)
        # The kernel wants a momentum also where there is none; it is written anew in each step.
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
            shared = {
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
                tf.raw_ops.ResourceApplyCenteredRMSProp(mg=mean, **shared)
            else:
                tf.raw_ops.ResourceApplyRMSProp(**shared)


# Exact classes: a subclass may do anything.
FUSED: dict[type, type[FusedOptimizer]] = {
    keras.optimizers.SGD: FusedSGD,
    keras.optimizers.Adam: FusedAdam,
    keras.optimizers.AdamW: FusedAdam,
    keras.optimizers.Nadam: FusedNadam,
    keras.optimizers.RMSprop: FusedRMSprop,
}


def warm_up_steps(dtype: str, beta_1: float) -> int:
    """Return after how many steps neither ``0.96^t / 2`` nor ``beta_1^t`` changes 1 in a dtype."""
    # math.log rather than a loop: 0.96^t < 2 eps holds from here on, as does beta_1^t < eps.
    eps = float(tf.experimental.numpy.finfo(dtype).eps) / 4
    slowest = max(NADAM_DECAY, beta_1)
    return math.ceil(math.log(eps) / math.log(slowest)) if slowest < 1 else 2**31 - 1


@contextlib.contextmanager
def fused(optimizer: keras.optimizers.Optimizer) -> Iterator[FusedOptimizer]:
    """Have an optimizer apply gradients by fused kernels, in what is traced inside."""
    quick = FUSED[type(optimizer)](optimizer)
    optimizer.apply_gradients = quick.apply_gradients
    try:
        yield quick
    finally:
        del optimizer.apply_gradients


def _cast(value: float, dtype: str) -> tf.Tensor:
    return tf.cast(tf.constant(value, "float32"), dtype)


def _handle(variable: Any) -> tf.Tensor:
    return variable.value.handle
