#!/bin/bash
# Makes one share of a script's parts in each task of a Slurm array:
#
#   sbatch --array=0-7 slurm_array.sh fill_drawings --preset my.toml
#   sbatch --dependency=afterok:JOB --array=0-0 slurm_array.sh ch09_measure_reconstructions --preset my.toml
#
# Ask for what your cluster offers; these lines are an example for one GPU a task.
#SBATCH --job-name=latentcortex
#SBATCH --gpus=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=latentcortex-%A_%a.log
set -eu
if [ "$#" -lt 1 ] || [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    echo "usage: sbatch --array=0-N slurm_array.sh SCRIPT [OPTION ...]" >&2
    exit 2
fi
# All tasks must see the same cache folder, because the parts lie there. A task that is killed or requeued goes
# on with its next part; the task that makes the last part also writes the product.
: "${LATENTCORTEX_CACHE:?set it to a folder that all nodes share}"
first=${SLURM_ARRAY_TASK_MIN:-0}
count=${SLURM_ARRAY_TASK_COUNT:-1}
if [ "$((${SLURM_ARRAY_TASK_MAX:-$((first + count - 1))} - first + 1))" -ne "$count" ]; then
    echo "An array with gaps (a step, or a list of numbers) would leave shares unmade: give --array=0-$((count - 1))" >&2
    exit 2
fi
script=$1
shift
exec latentcortex run "$script" --shard "$((SLURM_ARRAY_TASK_ID - first))/$count" "$@"
