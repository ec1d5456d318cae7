#!/usr/bin/env bash
# Train on several GPUs (or CPU processes) of one or more machines.
#   tools/dist_train.sh CONFIG GPUS [arguments of train.py]
# Several machines: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
# Elastic: with NNODES (such as 2, or 1:4 for one to four machines) and RDZV_ENDPOINT=host:port
# set. On one machine and elastic ones, workers that die are started again, up to MAX_RESTARTS (3)
# times, and resume.
set -euo pipefail
TOOLS=$(dirname "$0")
source "$TOOLS/arguments.sh"
[[ $# -ge 2 ]] || usage 7
CONFIG=$1 GPUS=$2
source "$TOOLS/torchrun.sh"
# On several machines a worker cannot tell that it is one started again: torch counts each
# machine's own failures.
RESUME=()
if [[ $MAX_RESTARTS != 0 && (${NNODES:-1} != 1 || -n ${RDZV_ENDPOINT:-}) ]]; then
    RESUME=(--resume)
fi
exec "${LAUNCH[@]}" --max_restarts="$MAX_RESTARTS" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch ${RESUME[@]+"${RESUME[@]}"} "${@:3}"
