"""Time the test of `src.eval` as a whole, its network alone, and each other part alone.

    python -m scripts.bench_eval ckpt_path=FILE data.root=DATA [--batches 8] [--rounds 3] [OVERRIDE …]

The script takes the settings of `src.eval` and tests the first batches of the first test set. "Network" is the network
alone, on batches that are loaded already; "whole" is the test from the start of the loading processes to the last
score, without the report. The two take turns; the median of the rounds is reported. The other parts are CPU time in one
thread, measured once.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor

from src.cli.command import CONF
from src.cli.script import ScriptParser
from src.data.dataset import collate_eval
from src.models.outputs import maps_at_size, stage_logits
from src.module import COSModule
from src.pipeline.preflight import prepare_test
from src.pipeline.test import score_test_sets
from src.scoring.scorer import score_maps


def main() -> None:
    """Run the command line of :func:`bench`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--batches", type=int, default=8, help="number of batches to test")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each; the median is reported")
    parser.add_argument("overrides", nargs="+", help="ckpt_path=FILE and other settings of src.eval")
    parser.run(bench)


@torch.no_grad()
def bench(arguments: argparse.Namespace) -> dict[str, float]:
    """Measure, print, and return the seconds of network and whole test, and the CPU seconds of the other parts."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = _config(arguments, Path(folder))
        ready = prepare_test(cfg)
        module, data, maps = ready.module, ready.datamodule, Path(folder, "maps")
        device = "cuda" if torch.cuda.is_available() and cfg.trainer.accelerator != "cpu" else "cpu"
        batches = list(itertools.islice(data.test_dataloader()[0], arguments.batches))
        passes: dict[str, Callable[[], Any]] = {
            "network": lambda: run_network(module, batches, device),
            "whole": lambda: score_test_sets(module, data, cfg.trainer, cfg.workers, maps),
        }
        seconds = in_turns(passes, arguments.rounds)
        found = {name: statistics.median(times) for name, times in seconds.items()}
        found |= other_parts(module, data.test_dataloader()[0].dataset, batches)
    images = sum(len(batch["name"]) for batch in batches)
    print(f"{images} images, {torch.get_num_threads()} threads, medians of {arguments.rounds}.\n")
    print("| | seconds | ms per image |\n|---|--:|--:|")
    for name, value in found.items():
        print(f"| {name} | {value:.2f} | {1e3 * value / images:.1f} |")
    ratios = sorted(whole / network for network, whole in zip(*seconds.values(), strict=True))
    print(f"\nwhole / network: {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")
    return found


def _config(arguments: argparse.Namespace, folder: Path) -> DictConfig:
    fixed = [f"paths.output_dir={folder}/run", f"trainer.limit_test_batches={arguments.batches}"]
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("eval", [*arguments.overrides, *fixed, "++trainer.enable_progress_bar=false"])


def in_turns(passes: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each pass; passes take turns, and a first round, which compiles, is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for turn in range(rounds + 1):
        for name, action in passes.items():
            start = time.perf_counter()
            action()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def run_network(module: COSModule, batches: list[Any], device: str) -> list[dict[str, Tensor]]:
    """Return the logits of all masks of each batch."""
    module.eval().to(device)  # a trainer leaves it on the CPU
    found = [stage_logits(module(batch["image"].to(device))) for batch in batches]
    if device == "cuda":
        torch.cuda.synchronize()
    return found


def other_parts(module: COSModule, data: Any, batches: list[Any]) -> dict[str, float]:
    """Return the CPU seconds of loading, enlarging and scoring, each in one thread."""
    logits = run_network(module, batches, "cpu")
    threads, seconds = torch.get_num_threads(), dict.fromkeys(("loading", "enlarging", "scoring"), 0.0)
    torch.set_num_threads(1)
    first = 0
    for batch, stages in zip(batches, logits, strict=True):
        start = time.thread_time()
        collate_eval([data[first + i] for i in range(len(batch["name"]))])
        seconds["loading"] += time.thread_time() - start
        first += len(batch["name"])
        for i, (name, target) in enumerate(zip(batch["name"], batch["mask"], strict=True)):
            start = time.thread_time()
            maps = maps_at_size({stage: one[i : i + 1] for stage, one in stages.items()}, target)
            enlarged = time.thread_time()
            score_maps(name, {stage: one.numpy() for stage, one in maps.items()}, target.numpy(), None, "field", ())
            seconds["enlarging"] += enlarged - start
            seconds["scoring"] += time.thread_time() - enlarged
    torch.set_num_threads(threads)
    return {f"{name} (CPU time)": value for name, value in seconds.items()}


if __name__ == "__main__":
    main()
