#!/usr/bin/env bash
# Test on several GPUs (or CPU processes) of one or more machines.
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]
# Several machines: as with dist_train.sh.
set -euo pipefail
TOOLS=$(dirname "$0")
source "$TOOLS/arguments.sh"
[[ $# -ge 3 ]] || usage 4
CONFIG=$1 CHECKPOINT=$2 GPUS=$3
source "$TOOLS/torchrun.sh"
exec "${LAUNCH[@]}" "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
