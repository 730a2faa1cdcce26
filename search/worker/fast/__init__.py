"""The fast epoch: Keras's own ``fit``, with each epoch compiled into one call.

If the model, its data and the optimizer's state are in memory, ``fit`` spends most of its time
fetching batches and launching small operations. The fast epoch traces the same training step once,
runs it over tensors that stay in place, and uses TensorFlow's fused optimizer kernels. A training
that is not known to give the same numbers takes Keras's path, and the reason is recorded.

Imports TensorFlow and Keras: for workers only.
"""

from search.worker.fast.fit import OWN_LOOP, SIGNATURE, Fit, PathTaken, install

__all__ = ["OWN_LOOP", "SIGNATURE", "Fit", "PathTaken", "install"]
