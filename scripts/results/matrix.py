"""The trainings behind docs/results, one after another.

The phases:

    lr        every network at three learning rates, 160 px, 4 epochs, a quarter held out; only the hold-out is scored
    core      run, fpn, fpn_ds and fpn_wide with three seeds, unet with one, 12 epochs at 224 px, each at its best
              rate; hold-out and test are scored in one round and in two, rivals also with multiplied logits, and RUN
              also without its closing step
    ablation  parts, choices and numbers of stages of RUN, 160 px, 6 epochs, a quarter held out; only the hold-out is
              scored
    large     run and the rival that is best on the hold-out, 352 px; scored as in core
    tasks     run and fpn_ds on Kvasir-SEG and DRIVE, and on DRIVE also unet without and with image skips, all at the
              rates chosen for CAMO; only the test sets are scored, as in core but without two rounds
    prompts   run at full resolution, trained without and with prompts, 160 px, 6 epochs, a quarter held out, three
              seeds; only the hold-out is scored; scripts.results.prompts measures what the prompts are worth
    recipe    choices of the recipe of experiment=camo_best, 160 px, 8 epochs (`+epochs`: 16), a quarter held out;
              only the hold-out is scored
    best      run (with prompts), fpn and fpn_ds by that recipe at 352 px, two seeds, and run and fpn_ds on Kvasir-SEG
              at 288 px, three seeds; evaluated as in core

`NAME_best` is the network NAME by that recipe, with RUN at full resolution, as is `run_full`; elsewhere `run` is
`model=run_quarter`.

Each training has its own folder below --output. Finished trainings are skipped and interrupted ones resume from their
last checkpoint, so the same command continues. When a training ends, its numbers are stored in docs/results and the
pages are written again. Ctrl-C or SIGTERM stops the matrix as soon as the running training has saved its state.
Overrides after ``--`` apply to every training, e.g. ``-- trainer=gpu data.num_workers=8``.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.results.page import RESULTS, write_pages
from scripts.results.store import store_run
from scripts.results.trainings import DONE, PHASES, Run, with_rates
from src.cli.command import reported_mistakes
from src.cli.script import ScriptParser
from src.utils.errors import UserError


def train_command(run: Run, folder: Path, data: Path, overrides: Sequence[str]) -> list[str]:
    """Return the command that trains a run, or resumes it if there are checkpoints.

    Args:
        run: the training.
        folder: the run's own folder.
        data: the data root.
        overrides: further overrides of `src.train`.
    """
    resume = ["ckpt_path=last"] if any((folder / "checkpoints").glob("*.ckpt")) else []
    places = [f"seed={run.seed}", "test=false", f"data.root={data}", f"paths.output_dir={folder}"]
    return [sys.executable, "-m", "src.train", *run.overrides, *places, *overrides, *resume]


def execute(run: Run, folder: Path, data: Path, overrides: Sequence[str], results: Path, pages: Path) -> None:
    """Do what is left of a run's training and evaluations, store its numbers, and write the pages again.

    Args:
        run: the training and its evaluations.
        folder: the run's own folder.
        data: the data root.
        overrides: further overrides of `src.train`.
        results: where the numbers are stored.
        pages: folder of the pages.

    Raises:
        UserError: a command failed.
    """
    if not (folder / DONE).exists():
        _call(train_command(run, folder, data, overrides))
        (folder / DONE).touch()
    for name, told in run.evaluations.items():
        if not (folder / name / DONE).exists():
            shutil.rmtree(folder / name, ignore_errors=True)  # left by an interrupted evaluation
            where = [*told, f"data.root={data}", f"paths.output_dir={folder / name}"]
            _call([sys.executable, "-m", "src.eval", f"ckpt_path={folder / 'checkpoints' / 'best.ckpt'}", *where])
            (folder / name / DONE).touch()
    store_run(folder, run.model, results, replace=True)
    write_pages(pages, results)


def main() -> None:
    """Run the command line."""
    output = Path.home() / "run-outputs" / "camo_matrix"
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "phases", nargs="*", metavar="PHASE", help=f"of {', '.join(PHASES)} (default: all, in this order)"
    )
    parser.add_data_root()
    parser.add_argument("--output", type=Path, default=output, help="folder of the runs (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where numbers are stored (default: %(default)s)")
    parser.add_argument(
        "--pages", type=Path, default=RESULTS, help="folder of the pages that show them (default: %(default)s)"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="only these networks or trainings, e.g. run run-robe drive_fpn_ds"
    )
    parser.add_argument("--seed", type=int, help="seed to use instead of the phase's own, e.g. a second one")
    parser.add_argument("--list", action="store_true", help="only print the trainings and whether they are done")
    own, overrides = _parted(sys.argv[1:])
    parser.run(lambda arguments: _run_phases(arguments, overrides), own)


def _run_phases(arguments: argparse.Namespace, overrides: Sequence[str]) -> int:
    failed: list[str] = []
    for phase in arguments.phases or PHASES:
        with reported_mistakes(failed):
            if phase not in PHASES:
                raise UserError(f"{phase}: no such phase; choose from {', '.join(PHASES)}")
            _phase(phase, arguments, overrides, failed)
    return 2 if failed else 0


def _phase(phase: str, arguments: Any, overrides: Sequence[str], failed: list[str]) -> None:
    runs = PHASES[phase](arguments.results)
    only = {*(arguments.only or [])}
    if unknown := sorted(only - {name for run in runs for name in (run.model, run.name)}):
        models, trainings = dict.fromkeys(run.model for run in runs), dict.fromkeys(run.name for run in runs)
        raise UserError(
            f"--only {' '.join(unknown)}: not in the phase {phase}, "
            f"which has {' '.join(models)} (trainings: {' '.join(trainings)})"
        )
    runs = with_rates([run for run in runs if not only or only & {run.model, run.name}], arguments.results)
    if arguments.seed is not None:
        runs = list({run.folder: run for run in (replace(run, seed=arguments.seed) for run in runs)}.values())
    for number, run in enumerate(runs, start=1):
        folder = arguments.output / run.folder
        state = "done" if run.is_done(folder) else "to resume" if folder.exists() else "to do"
        print(f"{phase} {number}/{len(runs)} {run.folder}: {state}", flush=True)
        if arguments.list:
            print(f"    {shlex.join(train_command(run, folder, arguments.data_root, overrides))}")
        else:
            with reported_mistakes(failed):
                execute(run, folder, arguments.data_root, overrides, arguments.results, arguments.pages)


def _call(words: Sequence[str]) -> None:
    """Run a command to its end; if a signal stops it, exit with its status."""
    process = subprocess.Popen(words)
    handlers = {
        signum: signal.signal(
            signum, lambda number, _: process.send_signal(number) if number == signal.SIGTERM else None
        )
        for signum in (signal.SIGINT, signal.SIGTERM)  # Ctrl-C reaches the child by itself
    }
    try:
        status = process.wait()
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
    if status in (-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM):
        print("stopped; the same command resumes", file=sys.stderr)
        sys.exit(status if status > 0 else 128 - status)
    if status:
        raise UserError(f"ended with status {status}: {shlex.join(words)}")


def _parted(words: list[str]) -> tuple[list[str], list[str]]:
    return (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])


if __name__ == "__main__":
    main()
