# Sourced by dist_train.sh and dist_test.sh: sets LAUNCH, the call of torchrun's agent that starts
# GPUS processes on this machine, and MAX_RESTARTS, where machines that do not meet have none.
require_number GPUS "$GPUS" 1
require_number NODE_RANK "${NODE_RANK:-0}" 0
require_number MAX_RESTARTS "${MAX_RESTARTS:-0}" 0
NODES=${NNODES:-1} # a number, or from least to most
require_number NNODES "${NODES%%:*}" 1
require_number NNODES "${NODES#*:}" "${NODES%%:*}"
[[ -z ${PORT:-} ]] || require_number PORT "$PORT" 1
if [[ ${NNODES:-1} == *:* && -z ${RDZV_ENDPOINT:-} ]]; then
    echo "error: NNODES=$NNODES, from least to most machines, needs RDZV_ENDPOINT=host:port too" >&2
    exit 2
fi
# A new store each time workers are started: in the agent's shared one, those started again find the
# addresses of those that died, and fail or wait (torch 2.11; see pytorch's issue 135712).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
LAUNCH=("${PYTHON:-python}" "$TOOLS/launch.py" --nproc_per_node="$GPUS")
if [[ -n ${RDZV_ENDPOINT:-} ]]; then # elastic: machines meet there, in any order
    LAUNCH+=(--nnodes="${NNODES:-1}" --rdzv_backend="${RDZV_BACKEND:-c10d}"
        --rdzv_endpoint="$RDZV_ENDPOINT" --rdzv_id="${RDZV_ID:-none}")
elif [[ ${NNODES:-1} == 1 && -z ${PORT:-} ]]; then # one machine, on a port that is free
    # By that name, because the machine's own need not resolve.
    LAUNCH+=(--standalone --local_addr=localhost)
else
    LAUNCH+=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
    [[ ${NNODES:-1} == 1 ]] || MAX_RESTARTS=${MAX_RESTARTS:-0}
fi
MAX_RESTARTS=${MAX_RESTARTS:-3}
