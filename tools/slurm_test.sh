#!/usr/bin/env bash
# Test under Slurm.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] \
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]
set -euo pipefail
TOOLS=$(dirname "$0")
source "$TOOLS/arguments.sh"
[[ $# -ge 4 ]] || usage 4
PARTITION=$1 JOB_NAME=$2
source "$TOOLS/slurm.sh"
exec "${LAUNCH[@]}" "$TOOLS/test.py" "$3" "$4" --launcher slurm "${@:5}"
