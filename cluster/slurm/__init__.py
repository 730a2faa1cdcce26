"""A search on all nodes of a Slurm job: the Python side of ``slurm.sh``."""
