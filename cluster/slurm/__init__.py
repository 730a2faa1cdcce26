"""A search on the nodes of one Slurm job: the Python side of ``slurm.sh``."""
