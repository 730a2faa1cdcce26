"""``RayTuner``, which replaces the tuners of keras-tuner in a script, and its parts."""

from search.ray.environment import import_ray
from search.ray.kept import start_forks_in_advance
from search.worker.process import import_keras_quietly

# Before the modules of this package import Keras and Ray.
start_forks_in_advance()
import_keras_quietly()
import_ray()
