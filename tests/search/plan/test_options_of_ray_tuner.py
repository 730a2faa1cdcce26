"""``RayTuner`` takes its arguments from the table of options. Imports Keras."""

import inspect

from search import RayTuner
from search.plan.plan import OPTIONS


def test_ray_tuner_takes_the_rows_that_have_its_name_for_them():
    signature = inspect.signature(RayTuner).parameters
    arguments = {row.argument: row for row in OPTIONS.values() if row.argument}
    assert arguments.keys() <= signature.keys()
    for name, row in arguments.items():
        assert signature[name].default == row.argument_default, name
    documented = RayTuner.__doc__.partition("\nOptions:\n")[2]
    of_keras_tuner = ("objective", "max_trials", "seed")
    for name in arguments.keys() - set(of_keras_tuner):
        assert f"    {name}: " in documented
    assert "options" not in signature
