"""The tables of `src.profile`: parts, times and memory of a network."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

import torch
from omegaconf import DictConfig

from src.models.cost import PartCost, Timing
from src.report.tables.table import Cell, Head, Table


def parts_table(name: str, parts: list[PartCost], cfg: DictConfig) -> Table:
    """Return parameters and GMACs of each part of the network ``name``; the last of ``parts`` is the total."""
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
    notes = [
        "GMACs of one image: convolutions, matrix products and the scan; nothing element-wise. 1 MAC = 2 operations."
    ]
    return Table(
        f"{name}, {cfg.image_size} × {cfg.image_size} px: parts", header, rows, notes, frozenset({len(rows) - 1})
    )


def timings_table(name: str, timings: list[Timing], cfg: DictConfig, device: torch.device) -> Table:
    """Return time, images per second and peak memory of each mode."""
    header = [
        Head("mode", is_number=False),
        Head("median (ms)"),
        Head("quartiles (ms)"),
        Head("images/s"),
        Head("peak (GiB)"),
    ]
    rows = []
    for one in timings:
        low, middle, high = (1e3 * value for value in one.quartiles)
        rate = f"{1e3 * cfg.batch_size / middle:.2f}"
        rows.append(
            [
                Cell(one.mode),
                Cell(f"{middle:.1f}"),
                Cell(f"{low:.1f} – {high:.1f}"),
                Cell(rate),
                Cell(f"{one.peak_gib:.2f}"),
            ]
        )
    memory = "of the GPU's allocator" if device.type == "cuda" else "of the whole process, libraries included"
    notes = [
        f"{_device_name(device)}; {cfg.repeats} runs after {cfg.warmup} to warm up; torch {torch.__version__}. "
        f"Peak: {memory}.",
        *(["train: forward, loss, backward; no optimiser."] if cfg.train else []),
    ]
    return Table(
        f"{name}, {cfg.image_size} × {cfg.image_size} px, batch {cfg.batch_size}: time and memory", header, rows, notes
    )


def cost_rows(
    name: str, parts: list[PartCost], timings: list[Timing], cfg: DictConfig, device: torch.device
) -> Iterator[dict[str, Any]]:
    """Yield both tables in full precision, one row per part and per mode."""
    about = {
        "network": name,
        "image_size": cfg.image_size,
        "batch_size": cfg.batch_size,
        "device": _device_name(device),
    }
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
