#!/bin/bash
# One search over all nodes of one Slurm job. From the folder of the project, which the nodes share:
#
#     sbatch cluster/slurm.sh run --space wide --trials 500 --out runs/wide
#
# After the script's name stands what `fmnist-search` is given on a laptop. Edit the lines above the
# ruler, or give sbatch others, which count more (docs/cluster.md):
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

# Where Python is one of a module, the same lines as before `make setup`:
# module load python/3.12

# ------------------------------------------------------------------------------------------------
# One Ray on each node, with all that the job has there.
#SBATCH --ntasks-per-node=1
# A node that fails does not end the job; where it is the first one, Slurm begins the job again.
#SBATCH --no-kill
#SBATCH --requeue
#SBATCH --open-mode=append
# The search is ended cleanly so long before the time limit, or up to a minute earlier (man sbatch).
#SBATCH --signal=B:USR1@120

set -eu

# Slurm runs a copy of this file: only the folder in which sbatch was called says where the project is.
project=${FMNIST_SEARCH_PROJECT:-${SLURM_SUBMIT_DIR:-$PWD}}
if [[ ! -x "$project/.venv/bin/fmnist-search" ]]; then
    echo "error: $project: no .venv/bin/fmnist-search is in it: call sbatch in the folder of the" \
        "project, after 'make setup', on a file system that all nodes share; or name that folder:" \
        "FMNIST_SEARCH_PROJECT=FOLDER sbatch ..." >&2
    exit 2
fi
export PATH="$project/.venv/bin:$PATH"
# In place of this shell, as it is the one process that Slurm sends the signal of above.
exec python -m cluster.slurm "$@"
