#!/bin/bash
# bash configs/scale/submit.sh configs/scale/llama-3.1-8b.yaml [--set KEY=VALUE ...]
# Queues a whole run: a job for each stretch of stages that run the model (gpu.sbatch) or do not (cpu.sbatch), each after the
# one before has succeeded. NODES is how many machines with GPUs each gets, 1 if not set; other options of sbatch come
# from its variables (SBATCH_PARTITION, SBATCH_ACCOUNT, ...). The config is checked first: mistakes show here, not in the queue.
set -euo pipefail
emoscale check "$@"

stretches() {
    python - "$@" <<'PYTHON'
import sys
from itertools import groupby
from pathlib import Path
from emoscale.config import load_settings
from emoscale.pipeline.stage import stages_of_run
from emoscale.pipeline.stages import STAGES

settings = load_settings(Path(sys.argv[1]), sys.argv[3::2])
for loads_model, names in groupby(stages_of_run(STAGES, settings), lambda name: STAGES[name].loads_model):
    print("gpu" if loads_model else "cpu", *names)
PYTHON
}

after=()
stretches "$@" | while read -r kind stages; do
    nodes=()
    [[ $kind == gpu ]] && nodes=(--nodes="${NODES:-1}")
    job=$(sbatch --parsable ${nodes[@]+"${nodes[@]}"} ${after[@]+"${after[@]}"} "configs/scale/$kind.sbatch" "$stages" "$@" < /dev/null)
    echo "job ${job%%;*}: $stages"
    after=(--dependency="afterok:${job%%;*}" --kill-on-invalid-dep=yes)
done
