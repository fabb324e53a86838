"""Measure one training step of several models in one run: seconds, ratio to the first model, memory.

    python -m scripts.bench_train [--models fpn fpn_ds …] [--image-size 224] [--batch-size 8] [OVERRIDE …]

A step is forward pass, loss, backward pass and optimiser step on random images, with the settings of
`experiment=camo_lite0` and random weights. The models take turns, so that other load on the machine affects all of them
alike; the median of the rounds is reported. Hydra overrides apply to every model, e.g. model.net.channels=32 (FPN has
that setting too). "MiB kept" are the tensors that a model keeps for its backward pass. Peak memory is that of the
process, on a GPU that of torch.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from src.cli.script import ScriptParser
from src.models.cost import kept_bytes
from src.module import COSModule
from src.pipeline.torch_compile import compile_network
from src.utils.memory import keep_freed_memory

CONFIGS = Path(__file__).resolve().parents[1] / "conf"


COMPILED = "compiled "
"""Prefix of the name of a model that is compiled, as `compile=true` does it."""


def composed(model: str, overrides: list[str]) -> DictConfig:
    """Return the configuration of `experiment=camo_lite0 model=…` with random weights."""
    with initialize_config_dir(str(CONFIGS), version_base=None):
        return compose(
            "train", overrides=["experiment=camo_lite0", f"model={model}", "encoder.weights=null", *overrides]
        )


def make(model: str, overrides: list[str], device: str) -> tuple[COSModule, torch.optim.Optimizer]:
    """Return the module of :func:`composed` and its optimiser."""
    name = model.removeprefix(COMPILED)
    cfg = composed(name, overrides)
    torch.manual_seed(0)
    module: COSModule = instantiate(cfg.model).to(device).train()
    if name != model:
        compile_network(module.net)
    return module, module.make_optimizer(module.parameters())


def loss_of(module: COSModule, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the loss of a batch."""
    return module.loss(module(image), image, mask)["loss"]


def step(module: COSModule, optimizer: torch.optim.Optimizer, image: torch.Tensor, mask: torch.Tensor) -> float:
    """Return the seconds of one step."""
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    loss_of(module, image, mask).backward()
    optimizer.step()
    if image.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def table(
    models: list[str], size: int, batch: int, rounds: int, overrides: list[str], device: str
) -> list[dict[str, Any]]:
    """Return one row per model: parameters (millions), seconds per step (median, fastest), ratio, MiB kept.

    The ratio is the model's median over the first model's median.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(batch, 3, size, size, generator=generator).to(device)
    mask = (torch.rand(batch, 1, size, size, generator=generator) > 0.7).float().to(device)
    made = {model: make(model, overrides, device) for model in models}
    for module, optimizer in made.values():
        step(module, optimizer, image, mask)
    seconds: dict[str, list[float]] = {model: [] for model in models}
    for _ in range(rounds):
        for model, (module, optimizer) in made.items():
            seconds[model].append(step(module, optimizer, image, mask))
    first = statistics.median(seconds[models[0]])
    return [
        {
            "model": model,
            "parameters": sum(p.numel() for p in made[model][0].parameters()) / 1e6,
            "median": statistics.median(times),
            "fastest": min(times),
            "ratio": statistics.median(times) / first,
            "kept": kept_bytes(made[model][0], partial(loss_of, made[model][0], image, mask)) / 2**20,
        }
        for model, times in seconds.items()
    ]


def main() -> None:
    """Run the command line of :func:`bench`."""
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "--models",
        nargs="+",
        default=["fpn", "fpn_ds", "run_quarter", "run", "run_paper"],
        help="names in conf/model; ratios are to the first",
    )
    parser.add_argument(
        "--compile", action="store_true", help="also time each model compiled (compile=true): takes minutes"
    )
    parser.add_argument("--image-size", type=int, default=224, help="pixels")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("overrides", nargs="*", help="Hydra overrides for every model")
    parser.run(bench)


def bench(arguments: argparse.Namespace) -> None:
    """Measure and print the table."""
    keep_freed_memory()  # as src.train does
    size, batch = arguments.image_size, arguments.batch_size
    models = [*arguments.models, *(f"{COMPILED}{model}" for model in arguments.models if arguments.compile)]
    rows = table(models, size, batch, arguments.rounds, arguments.overrides, arguments.device)
    peak = (
        torch.cuda.max_memory_allocated()
        if arguments.device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    where = f"{arguments.device}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"Training step, {batch} images of {size} × {size} px, {where}.\n")
    print(
        f"| model | parameters | seconds per step (median) | fastest | × {rows[0]['model']} | MiB kept |\n"
        "|---|---:|---:|---:|---:|---:|"
    )
    for row in rows:
        seconds = f"{row['median']:.3f} | {row['fastest']:.3f}"
        print(f"| {row['model']} | {row['parameters']:.1f} M | {seconds} | {row['ratio']:.2f} | {row['kept']:.0f} |")
    print(f"\nPeak memory of all models together: {peak / 2**30:.1f} GiB.")


if __name__ == "__main__":
    main()
