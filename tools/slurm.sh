# Sourced by slurm_train.sh and slurm_test.sh: sets LAUNCH, the call of srun that starts one task a
# GPU.
GPUS=${GPUS:-8} GPUS_PER_NODE=${GPUS_PER_NODE:-8} CPUS_PER_TASK=${CPUS_PER_TASK:-5}
require_number GPUS "$GPUS" 1
require_number GPUS_PER_NODE "$GPUS_PER_NODE" 1
require_number CPUS_PER_TASK "$CPUS_PER_TASK" 1
# shellcheck disable=SC2206  (SRUN_ARGS holds several arguments)
LAUNCH=(srun -p "$PARTITION" --job-name="$JOB_NAME"
    --gres=gpu:"$GPUS_PER_NODE" --ntasks="$GPUS"
    --ntasks-per-node=$((GPUS < GPUS_PER_NODE ? GPUS : GPUS_PER_NODE))
    --cpus-per-task="$CPUS_PER_TASK" --kill-on-bad-exit=1 ${SRUN_ARGS:-}
    "${PYTHON:-python}" -u)
