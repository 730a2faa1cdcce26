"""``RayTuner``, which replaces the tuners of keras-tuner in a script, and its parts."""

from search.ray.environment import import_ray
from search.ray.kept import start_forks_in_advance

# Before the modules of this package import Keras and Ray.
start_forks_in_advance()
import_ray()
