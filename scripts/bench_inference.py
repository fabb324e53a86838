"""Time inference of several networks against their encoder alone: threads, batch sizes, layouts, torch.compile.

    python -m scripts.bench_inference [--models run run_quarter run_paper fpn] [--encoder resnet50] [--image-size 384]

Every network has random weights. Encoder and networks take turns, so that other load on the machine affects all of
them alike; the median of the rounds is reported. Hydra overrides apply to every model.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from scripts.bench_train import CONFIGS
from src.cli.script import ScriptParser
from src.utils.memory import keep_freed_memory

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


class Setting(NamedTuple):
    """The setting of one row of measurements."""

    threads: int
    batch: int
    layout: str
    compiled: bool


def make(model: str, encoder: str, overrides: list[str]) -> nn.Module:
    """Return the network of `model=… encoder=…` with random weights, ready for inference."""
    with initialize_config_dir(str(CONFIGS), version_base=None):
        given = ["data=folder", "data.root=.", f"model={model}", f"encoder={encoder}", "encoder.weights=null"]
        cfg = compose("train", overrides=[*given, *overrides])
    torch.manual_seed(0)
    net: nn.Module = instantiate(cfg.model.net).eval()
    return net


@torch.inference_mode()
def seconds(calls: dict[str, Callable[[Tensor], object]], image: Tensor, rounds: int) -> dict[str, float]:
    """Return the median seconds of each call, which take turns."""
    for call in calls.values():
        call(image)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call(image)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(nets: dict[str, nn.Module], setting: Setting, size: int, rounds: int) -> dict[str, float]:
    """Return the seconds of a batch under a setting; ``encoder`` is the first network's encoder alone."""
    torch.set_num_threads(setting.threads)
    layout = FORMATS[setting.layout]
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(setting.batch, 3, size, size, generator=generator).contiguous(memory_format=layout)
    parts: dict[str, Any] = {"encoder": next(iter(nets.values())).encoder, **nets}
    for part in parts.values():
        part.to(memory_format=layout)
    calls = {name: torch.compile(part) if setting.compiled else part for name, part in parts.items()}
    return seconds(calls, image, rounds)


def bench(arguments: argparse.Namespace) -> None:
    """Measure and print one row per setting."""
    keep_freed_memory()
    names = ["encoder", *arguments.models]
    nets = {model: make(model, arguments.encoder, arguments.overrides) for model in arguments.models}
    print(f"{arguments.encoder}, {arguments.image_size}² px, ms per image (× encoder), torch {torch.__version__}.\n")
    print(f"| threads | batch | layout | torch.compile | {' | '.join(names)} |\n|{'---:|' * (4 + len(names))}")
    compiled = [word == "yes" for word in arguments.compile]
    choices = (arguments.threads, arguments.batch_sizes, arguments.layouts, compiled)
    for setting in itertools.starmap(Setting, itertools.product(*choices)):
        found = measure(nets, setting, arguments.image_size, arguments.rounds)
        cells = (f"{1e3 * found[name] / setting.batch:.0f} ({found[name] / found['encoder']:.2f})" for name in names)
        about = [*map(str, setting[:3]), "yes" if setting.compiled else "no"]
        print(f"| {' | '.join([*about, *cells])} |", flush=True)


def main() -> None:
    """Run the command line of :func:`bench`."""
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "--models", nargs="+", default=["run", "run_quarter", "run_paper", "fpn"], help="names in conf/model"
    )
    parser.add_argument("--encoder", default="resnet50", help="name in conf/encoder")
    parser.add_argument("--image-size", type=int, default=384, help="pixels")
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1])
    parser.add_argument("--layouts", nargs="+", default=["channels_last"], choices=list(FORMATS))
    parser.add_argument("--compile", nargs="+", default=["no"], choices=["no", "yes"], help="torch.compile")
    parser.add_argument("--rounds", type=int, default=5, help="timed calls of each network")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides for every model")
    parser.run(bench)


if __name__ == "__main__":
    main()
