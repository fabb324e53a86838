"""Measure a network without data or weights: ``python -m src.profile model=run encoder=resnet50 image_size=384``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from src.cli.command import command, console
from src.utils.errors import Problems

if TYPE_CHECKING:
    import torch

    from src.models.cost import PartCost, Timing


def profile(cfg: DictConfig) -> tuple[list[PartCost], list[Timing]]:
    """Count, time and print what ``conf/profile.yaml`` sets; return the parts (the last is the total) and the timings.

    Raises:
        UserError: settings that can't be measured, all at once; an existing CSV file.
    """
    # Imported here: a mistake on the command line is reported sooner without torch.
    import lightning as L
    import torch

    from src.models.cost import count_parts, measure
    from src.models.wrappers import network_name
    from src.report.files import write_csv
    from src.report.tables.cost import cost_rows, parts_table, timings_table
    from src.report.tables.table import terminal

    device = _checked_device(cfg)
    L.seed_everything(cfg.seed, verbose=False)
    cfg.encoder.weights = None  # the cost is the same
    module = instantiate(cfg.model).to(device)
    image = torch.rand(cfg.batch_size, 3, cfg.image_size, cfg.image_size, device=device)
    parts = count_parts(module.eval().net, image[:1])
    timings = [measure("eval", torch.no_grad()(lambda: module.eval()(image)), device, cfg.warmup, cfg.repeats)]
    if cfg.train:
        target = (torch.rand_like(image[:, :1]) < 0.2).float()

        def train_step() -> None:
            module.zero_grad(set_to_none=True)
            module.loss(module.train()(image), image, target)["loss"].backward()

        timings.append(measure("train", train_step, device, cfg.warmup, cfg.repeats))
    name, out = f"{network_name(module.net)} ({cfg.encoder.name})", console()
    for table in (parts_table(name, parts, cfg), timings_table(name, timings, cfg, device)):
        out.print(terminal(table))
        out.print(*table.notes, sep="\n", style="dim", highlight=False)
    if cfg.csv is not None:
        write_csv(Path(cfg.csv), cost_rows(name, parts, timings, cfg, device))
        out.print(f"Written: {cfg.csv}", highlight=False)
    return parts, timings


def _checked_device(cfg: DictConfig) -> torch.device:
    """Check all settings and return the device to measure on."""
    import torch

    from src.models.encoder import STRIDES
    from src.report.files import check_new_file

    smallest = {"batch_size": 1, "repeats": 1, "warmup": 0, "image_size": max(STRIDES)}
    problems = Problems(f"{key}={cfg[key]}: expected at least {low}" for key, low in smallest.items() if cfg[key] < low)
    if cfg.train and cfg.batch_size == 1 and cfg.image_size == max(STRIDES):
        why = f"BatchNorm can't train on one image of {cfg.image_size} px"
        problems.append(f"train=true: {why}; take batch_size=2, or train=false")
    if cfg.device not in ("auto", "cpu", "cuda"):
        problems.append(f"device={cfg.device}: expected auto, cpu or cuda")
    elif cfg.device == "cuda" and not torch.cuda.is_available():
        problems.append("device=cuda: torch finds no CUDA device")
    problems += [] if cfg.csv is None else check_new_file("csv", Path(cfg.csv))
    problems.raise_all("nothing was measured:")
    return torch.device("cuda" if cfg.device != "cpu" and torch.cuda.is_available() else "cpu")


@command("profile")
def main(cfg: DictConfig) -> Any:
    """Run the command line of :func:`profile`."""
    profile(cfg)


if __name__ == "__main__":
    main()
