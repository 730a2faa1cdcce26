#!/bin/bash
# Installs the packages of the project on one machine; `ray up` runs it there (onprem.yaml). In a
# folder of `fmnist-cluster init` they are those of requirements.txt, in a checkout those of the lock.

set -eu
cd "$(dirname "$0")/.."
gpu=$(command -v nvidia-smi || true)

if [ ! -e cluster/requirements.txt ]; then
    exec make --silent setup GPU="$gpu"
fi

wheel=$(grep --max-count=1 '\.whl$' cluster/requirements.txt || true)
if [ ! -f "$wheel" ]; then
    echo "error: cluster/requirements.txt names no wheel that is there ($wheel): remove that file, and" \
        "run 'fmnist-cluster init' in the project" >&2
    exit 2
fi
wanted=$(cat cluster/requirements.txt "$wheel" | sha256sum; echo "gpu: $gpu")
if [ "$(cat .venv/.installed 2>/dev/null)" = "$wanted" ]; then
    exit
fi
[ -e .venv/bin/python ] || python3 -m venv .venv
rm -f .venv/.installed
.venv/bin/python -m pip install --quiet -r cluster/requirements.txt ${gpu:+"tensorflow[and-cuda]"}
# Again: pip keeps an installed wheel of the same version, even if it differs.
.venv/bin/python -m pip install --quiet --no-deps --force-reinstall "$wheel"
echo "$wanted" > .venv/.installed
