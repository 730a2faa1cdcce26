"""``python -m fmnist_model``: find or fetch the data set, verify it, say where it is."""

from fmnist_model.data import main

main()
