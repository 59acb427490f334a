"""Are a run's verdicts the same on other threads, in bfloat16 and with other controls?

python -m benchmarks.verdict_stability runs/stability --json FILE. Runs configs/demo.yaml, or another config, four
times: with one thread, with two, with the masked model in bfloat16, and with another seed of the controls. What is done
is kept, and the same command goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.common import tell
from emoscale.run.folder import RunFolder
from emoscale.run.verdicts import read_verdicts

THREADS = "--set=machine.threads={}"

VARIANTS: dict[str, list[str]] = {
    "one thread": [THREADS.format(1)],
    "two threads": [THREADS.format(2)],
    "bfloat16": [THREADS.format(2), "--set=ablation.precision=bfloat16"],
    "other controls": [THREADS.format(2), "--set=masks.seed=1"],
}
"""What is asked of the command line, besides the config."""

REUSED = {"bfloat16": "two threads", "other controls": "two threads"}
"""Runs whose stages are taken over where no setting that they depend on differs; the threads are none."""


def run_all(config: Path, out: Path, overrides: list[str]) -> dict[str, dict[str, str]]:
    """Run every variant, and return its answers and the numbers they rest on."""
    found = {}
    for name, settings in VARIANTS.items():
        folder = out / name.replace(" ", "-")
        command = [sys.executable, "-m", "emoscale", "run", str(config), "--out", str(folder), *settings, *overrides]
        if name in REUSED:
            command += ["--from", str(out / REUSED[name].replace(" ", "-"))]
        subprocess.run(command, check=True)
        verdicts = read_verdicts(RunFolder(folder)).values()
        found[name] = {
            verdict.question.value: f"{verdict.answer.value} ({verdict.reason.value}): {verdict.value:.4f} "
            f"[{verdict.ci_low:.4f}, {verdict.ci_high:.4f}], p {verdict.p:.3f}"
            for verdict in verdicts
        }
    return found


def main() -> None:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--config", type=Path, default=Path("configs/demo.yaml"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    given = parser.parse_args()
    found = run_all(given.config, given.out, [f"--set={override}" for override in given.overrides])
    answers = {tuple(text.split(":")[0] for text in verdicts.values()) for verdicts in found.values()}
    numbers = {f"{name}, {question}": text for name, verdicts in found.items() for question, text in verdicts.items()}
    tell("The same verdicts?", {"same": len(answers) == 1, **numbers}, given.json)


if __name__ == "__main__":
    main()
