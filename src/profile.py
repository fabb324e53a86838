"""What a network costs: ``python -m src.profile model=run encoder=resnet50 image_size=384``; no data, no weights, nothing written."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from src.cli.command import command, console
from src.models.cost import PartCost, count_parts
from src.models.encoder import STRIDES
from src.models.rounds import network_name
from src.module import COSModule
from src.report.files import write_csv
from src.report.tables.table import Cell, Head, Table, terminal
from src.utils.errors import Problems
from src.utils.memory import peak_gib, reset_peak


@dataclass(frozen=True)
class Timing:
    """Seconds of each counted run of one batch, and the peak of memory in GiB."""

    mode: str
    seconds: tuple[float, ...]
    peak_gib: float

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile, in seconds."""
        if len(self.seconds) == 1:
            return (self.seconds[0],) * 3
        low, middle, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, middle, high


def profile(cfg: DictConfig) -> tuple[list[PartCost], list[Timing]]:
    """Count, time and print what ``conf/profile.yaml`` says; returns the parts (the last is the total) and the timings.

    Raises:
        UserError: settings that can't be measured, all at once; an existing CSV file.
    """
    device = _check(cfg)
    L.seed_everything(cfg.seed, verbose=False)
    cfg.encoder.weights = None  # the cost is the same
    module: COSModule = instantiate(cfg.model).to(device)
    image = torch.rand(cfg.batch_size, 3, cfg.image_size, cfg.image_size, device=device)
    parts = count_parts(module.eval().net, image[:1])
    timings = [measure("eval", lambda: _infer(module.eval(), image), device, cfg.warmup, cfg.repeats)]
    if cfg.train:
        target = (torch.rand_like(image[:, :1]) < 0.2).float()
        timings.append(measure("train", lambda: _train_step(module.train(), image, target), device, cfg.warmup, cfg.repeats))
    name = f"{network_name(module.net)} ({cfg.encoder.name})"
    out = console()
    for table in (_parts_table(name, parts, cfg), _timings_table(name, timings, cfg, device)):
        out.print(terminal(table))
        for note in table.notes:
            out.print(f"[dim]{note}[/dim]", highlight=False)
    if cfg.csv is not None:
        write_csv(Path(cfg.csv), _rows(name, parts, timings, cfg, device))
        out.print(f"Written: {cfg.csv}", highlight=False)
    return parts, timings


def measure(mode: str, run: Callable[[], object], device: torch.device, warmup: int, repeats: int) -> Timing:
    """Time ``repeats`` calls of ``run`` after ``warmup`` that do not count; on a GPU each waits until its work is done."""
    for _ in range(warmup):
        run()
    _wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        reset_peak()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else peak_gib()
    return Timing(mode, tuple(seconds), peak)


def _infer(module: COSModule, image: Tensor) -> None:
    with torch.no_grad():
        module(image)


def _train_step(module: COSModule, image: Tensor, target: Tensor) -> None:
    module.zero_grad(set_to_none=True)
    module.loss(module(image), image, target)["loss"].backward()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _check(cfg: DictConfig) -> torch.device:
    problems = Problems(f"{key}={cfg[key]}: expected at least 1" for key in ("batch_size", "repeats") if cfg[key] < 1)
    if cfg.warmup < 0:
        problems.append(f"warmup={cfg.warmup}: expected at least 0")
    if cfg.image_size < max(STRIDES):
        problems.append(f"image_size={cfg.image_size}: expected at least {max(STRIDES)}")
    elif cfg.train and cfg.batch_size == 1 and cfg.image_size <= max(STRIDES):
        problems.append(f"train=true: BatchNorm can't train on one image of {cfg.image_size} px; take batch_size=2, or train=false")
    if cfg.device not in ("auto", "cpu", "cuda"):
        problems.append(f"device={cfg.device}: expected auto, cpu or cuda")
    elif cfg.device == "cuda" and not torch.cuda.is_available():
        problems.append("device=cuda: torch finds no CUDA device")
    if cfg.csv is not None and Path(cfg.csv).exists():
        problems.append(f"csv={cfg.csv}: exists already; name another file")
    if cfg.csv is not None and not Path(cfg.csv).parent.is_dir():
        problems.append(f"csv={cfg.csv}: no folder {Path(cfg.csv).parent}")
    problems.raise_all("nothing was measured:")
    return torch.device("cuda" if cfg.device != "cpu" and torch.cuda.is_available() else "cpu")


def _parts_table(name: str, parts: list[PartCost], cfg: DictConfig) -> Table:
    total = parts[-1]
    header = [Head("part", is_number=False), Head("parameters (M)"), Head("share"), Head("GMACs"), Head("share")]
    rows = [
        [
            Cell(one.part),
            Cell(f"{one.parameters / 1e6:.3f}"),
            Cell(_share(one.parameters, total.parameters)),
            Cell(f"{one.gmacs:.3f}"),
            Cell(_share(one.gmacs, total.gmacs)),
        ]
        for one in parts
    ]
    notes = ["GMACs of one image: convolutions, matrix products and the scan; nothing element-wise. 1 MAC = 2 operations."]
    return Table(f"{name}, {cfg.image_size} × {cfg.image_size} px: parts", header, rows, notes, frozenset({len(rows) - 1}))


def _timings_table(name: str, timings: list[Timing], cfg: DictConfig, device: torch.device) -> Table:
    header = [Head("mode", is_number=False), Head("median (ms)"), Head("quartiles (ms)"), Head("images/s"), Head("peak (GiB)")]
    rows = []
    for one in timings:
        low, middle, high = (1e3 * value for value in one.quartiles)
        rate = f"{1e3 * cfg.batch_size / middle:.2f}"
        rows.append([Cell(one.mode), Cell(f"{middle:.1f}"), Cell(f"{low:.1f} – {high:.1f}"), Cell(rate), Cell(f"{one.peak_gib:.2f}")])
    memory = "of the GPU's allocator" if device.type == "cuda" else "of the whole process, libraries included"
    notes = [
        f"{_device_name(device)}; {cfg.repeats} runs after {cfg.warmup} to warm up; torch {torch.__version__}. Peak: {memory}.",
        *(["train: forward, loss, backward; no optimiser."] if cfg.train else []),
    ]
    return Table(f"{name}, {cfg.image_size} × {cfg.image_size} px, batch {cfg.batch_size}: time and memory", header, rows, notes)


def _rows(name: str, parts: list[PartCost], timings: list[Timing], cfg: DictConfig, device: torch.device) -> Iterator[dict[str, Any]]:
    about = {"network": name, "image_size": cfg.image_size, "batch_size": cfg.batch_size, "device": _device_name(device)}
    for part in parts:
        yield about | vars(part)
    for one in timings:
        low, middle, high = one.quartiles
        yield about | {"mode": one.mode, "median_s": middle, "low_s": low, "high_s": high, "peak_gib": one.peak_gib}


def _share(value: float, total: float) -> str:
    return f"{value / total:.1%}" if total else "–"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU ({platform.machine()}), {threads} thread{'s'[: threads > 1]}"


@command("profile")
def main(cfg: DictConfig) -> Any:
    """The command line of :func:`profile`."""
    profile(cfg)


if __name__ == "__main__":
    main()
