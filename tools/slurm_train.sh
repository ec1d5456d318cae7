#!/usr/bin/env bash
# Train under Slurm.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] \
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of train.py]
set -euo pipefail
TOOLS=$(dirname "$0")
source "$TOOLS/arguments.sh"
[[ $# -ge 3 ]] || usage 4
PARTITION=$1 JOB_NAME=$2
source "$TOOLS/slurm.sh"
exec "${LAUNCH[@]}" "$TOOLS/train.py" "$3" --launcher slurm "${@:4}"
