"""Does a stage that was killed and resumed end with the same bytes as one that was not?

An extraction or an ablation sweep of a tiny random model, two ranks under torchrun. In every trial one rank is killed
(SIGKILL) at a random moment of the stage, and the rest of the job soon after; then the same command resumes, and every
file of the result is compared with the undisturbed one: the store of activations or of scores, and its commit log. The
moments are spread evenly: the stage's time is divided into as many parts as there are kills, and each part has one.
With ``--stage run`` whole runs are killed, in every stage, by one process and by two (`benchmarks.faults_run`). With
``--stage flips`` nothing is killed: single bits of a finished run are flipped, and it is counted how many of the files
are named (`benchmarks.faults_flips`).

    python -m benchmarks.faults [--stage ablate | --stage run] --kills 30 [--json FILE]
    python -m benchmarks.faults --stage flips --flips 200 [--json FILE]
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import arguments, tell
from benchmarks.faults_flips import flip_bits
from benchmarks.faults_job import command, environment, job_of, kill, wait_for
from benchmarks.faults_run import kill_runs
from benchmarks.faults_stages import STAGES, Disturbed, make_config
from emoscale.run.folder import RunFolder

RANKS = 2


def main() -> None:
    options = arguments(__doc__ or "", kills=30, flips=60, seed=0, stage=(*STAGES, "run", "flips"))
    chance = random.Random(options.seed)  # noqa: S311
    if options.stage == "run":
        numbers = kill_runs(options.kills, chance)
        tell("Runs killed and continued", numbers, options.json)
        sys.exit(numbers["identical"] != numbers["kills"])
    if options.stage == "flips":
        numbers = flip_bits(options.flips, chance)
        tell("Single bits flipped in a finished run", numbers, options.json)
        sys.exit(numbers["named"] != options.flips)
    name, stage = options.stage, STAGES[options.stage]
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as path:
        config = make_config(stage, Path(path))
        ready, whole, disturbed = (RunFolder(Path(path) / word) for word in ("ready", "whole", "disturbed"))
        for need in stage.needs:
            subprocess.run(command(need, config, ready), check=True, stdout=subprocess.DEVNULL, env=environment())
        shutil.copytree(ready.path, whole.path)
        start = time.perf_counter()
        stage_s = undisturbed(name, config, whole)
        run_s = time.perf_counter() - start
        expected, pieces = files_of(stage, whole), stage.finished(whole)
        print(f"undisturbed: {run_s:.1f} s, {name} {stage_s:.1f} s of it; {len(expected)} files", flush=True)
        identical = midway = 0
        for trial in range(options.kills):
            moment = (trial + chance.random()) / options.kills * stage_s
            shutil.rmtree(disturbed.path, ignore_errors=True)
            shutil.copytree(ready.path, disturbed.path)
            rank = kill(name, job_of(name, config, disturbed, RANKS), disturbed, moment, chance)
            done = stage.finished(disturbed)
            midway += 0 < done < pieces
            continued = job_of(name, config, disturbed, RANKS)
            subprocess.run(continued, check=True, stdout=subprocess.DEVNULL, env=environment(), timeout=600)
            found = files_of(stage, disturbed)
            differing = sorted(str(file) for file in found.keys() | expected if found.get(file) != expected.get(file))
            identical += not differing
            verdict = f"DIFFERENT: {', '.join(differing[:5])}" if differing else "identical"
            print(
                f"kill {trial + 1} of {options.kills}: rank {rank} after {moment:.2f} s, {done} of {pieces} "
                f"{stage.pieces} finished; continued: {verdict}",
                flush=True,
            )
    numbers = {
        "kills": options.kills,
        "identical": identical,
        "killed_midway": midway,
        "seconds": time.perf_counter() - begin,
        "ranks": RANKS,
        stage.pieces: pieces,
        "files": len(expected),
        "run_s": run_s,
        stage.seconds: stage_s,
    }
    tell(stage.title, numbers, options.json)
    sys.exit(identical != options.kills)


def undisturbed(stage: str, config: Path, folder: RunFolder) -> float:
    """Run the stage; return its seconds."""
    job = subprocess.Popen(job_of(stage, config, folder, RANKS), stdout=subprocess.DEVNULL, env=environment())
    wait_for(stage, folder, job, "running")
    start = time.perf_counter()
    wait_for(stage, folder, job, "done")
    seconds = time.perf_counter() - start
    if job.wait():
        raise SystemExit("the undisturbed run failed")
    return seconds


def files_of(stage: Disturbed, folder: RunFolder) -> dict[Path, bytes]:
    """Return every file of the results, hidden ones too: unfinished files of a killed process must not remain."""
    files = [
        file
        for root in stage.results(folder)
        for file in ([root] if root.is_file() else root.rglob("*"))
        if file.is_file()
    ]
    return {file.relative_to(folder.path): file.read_bytes() for file in files}


if __name__ == "__main__":
    main()
