"""A configuration: the values of its hyperparameters by name."""

Scalar = bool | int | float | str
Values = dict[str, Scalar]
