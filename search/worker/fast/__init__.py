"""The fast epoch: Keras's own ``fit`` with each epoch compiled into one call.

With the model and its data in memory and an optimizer whose arithmetic is known, ``fit`` spends
most of its time fetching batches and launching small operations. Here the same training step is
traced once, runs over tensors that stay where they are, and ends in TensorFlow's fused optimizer
kernels. Whatever is not known to give the same numbers takes Keras's path, and the reason is told.

Imports TensorFlow and Keras: for workers only.
"""

from search.worker.fast.fit import OWN_LOOP, Fit, PathTaken, install

__all__ = ["OWN_LOOP", "Fit", "PathTaken", "install"]
