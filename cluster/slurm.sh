#!/bin/bash
# One search on all nodes of one Slurm job. From the folder of the project, which the nodes share:
#
#     sbatch cluster/slurm.sh run --space wide --trials 500 --out runs/wide
#
# After the script's name type the same arguments as for `fmnist-search` on a laptop. Edit the lines
# above the ruler, or give options to sbatch, which override them (docs/cluster/slurm.md):
#
#     sbatch --nodes=8 --gpus-per-node=4 cluster/slurm.sh run --resources auto --out runs/large

#SBATCH --job-name=fmnist-search
#SBATCH --nodes=2
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=2G
#SBATCH --time=04:00:00
##SBATCH --gpus-per-node=1
##SBATCH --partition=NAME
##SBATCH --account=NAME

# If Python comes from a module, load the same as when the packages were installed:
# module load python/3.12

# ------------------------------------------------------------------------------------------------
# One Ray on each node, with all of the job's resources there.
#SBATCH --ntasks-per-node=1
# A failing node does not end the job; if it is the first node, Slurm restarts the job.
#SBATCH --no-kill
#SBATCH --requeue
#SBATCH --open-mode=append
# Slurm sends the signal 120 s before the time limit, or up to a minute earlier (man sbatch); the
# search then ends cleanly.
#SBATCH --signal=B:USR1@120

set -eu

# Slurm runs a copy of this file, so the folder in which sbatch was called must tell the project. Its
# .venv is used; if it has none, the environment that was active when sbatch was called.
project=${FMNIST_SEARCH_PROJECT:-${SLURM_SUBMIT_DIR:-$PWD}}
programs=$project/.venv/bin
if [[ ! -x "$programs/fmnist-search" && -z "${FMNIST_SEARCH_PROJECT:-}" ]]; then
    programs=$(dirname "$(command -v fmnist-search || echo "$programs/fmnist-search")")
fi
if [[ ! -x "$programs/fmnist-search" || ! -x "$programs/python" ]]; then
    echo "error: $project: no .venv/bin/fmnist-search in it: expected the folder of the project," \
        "with its packages installed in .venv, on a file system that all nodes share. Call sbatch in" \
        "that folder, activate another environment first, or name the folder:" \
        "FMNIST_SEARCH_PROJECT=FOLDER sbatch ..." >&2
    exit 2
fi
export PATH="$programs:$PATH"
# exec replaces this shell, the only process to which Slurm sends the signal above.
# -P: a cluster.py in the current folder is not what is meant.
exec python -P -m cluster.slurm "$@"
