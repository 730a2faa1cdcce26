"""``python -m fmnist_model``: find or fetch the data set, verify it and print its folder."""

from fmnist_model.data import main

main()
