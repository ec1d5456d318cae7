#!/usr/bin/env bash
# Test on several GPUs (or CPU processes) of one or more machines.
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]
# Several machines: as with dist_train.sh.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
CONFIG=$1 CHECKPOINT=$2 GPUS=$3
TOOLS=$(dirname "$0")
source "$TOOLS/torchrun.sh"
exec "${LAUNCH[@]}" "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
