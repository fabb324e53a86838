"""Check what `trainer` asks for against what this machine and its launcher have, before any work."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from omegaconf import DictConfig

from src.utils.errors import Problems, UserError
from src.utils.launch import Launch


def check_devices(trainer: DictConfig, launch: Launch | None) -> dict[str, Any]:
    """Check the devices; return those that a launcher sets, as arguments of Lightning's Trainer (none without one).

    Raises:
        UserError: devices that do not exist, or a combination that can't work; all problems at once.
    """
    gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    accelerator, devices, nodes = str(trainer.accelerator), trainer.devices, int(trainer.get("num_nodes", 1))
    wants_gpu = accelerator in ("gpu", "cuda", "mps")
    on_gpu = wants_gpu or (accelerator == "auto" and gpus > 0)
    problems = Problems()
    if wants_gpu and not gpus:
        asked = f"trainer.accelerator={accelerator}" + (
            f", trainer.devices={devices}" if str(devices) not in ("auto", "-1") else ""
        )
        problems.append(
            f"{asked}: this machine has no GPU that torch can use; "
            "trainer=cpu (one process) and trainer=ddp_cpu need none"
        )
    count = _count(devices, gpus if on_gpu else 1)
    if count is None:
        problems.append(f"trainer.devices={devices}: a number of devices, a list of their indices, or auto")
    elif on_gpu and gpus and max(count, *_indices(devices), 1) > gpus:
        problems.append(f"trainer.devices={devices}: this machine has {gpus} GPU{'s'[: gpus > 1]}")
    if trainer.get("check_val_every_n_epoch", 1) == 0:
        problems.append(
            "trainer.check_val_every_n_epoch=0: must be 1 or more; trainer.limit_val_batches=0 leaves validation out"
        )
    if launch is None and nodes > 1:
        problems.append(f"trainer.num_nodes={nodes}: several machines need torchrun or srun (docs/how-to/scale-out.md)")
    if launch is not None:
        if str(devices) not in ("auto", "-1") and count != launch.here:
            problems.append(
                f"trainer.devices={devices}: {launch.by} has started {launch.here} processes on this machine; "
                "devices=auto"
            )
        if launch.by == "srun" and "SLURM_NTASKS_PER_NODE" not in os.environ:
            problems.append("srun has started several processes: say how many on each machine with --ntasks-per-node")
        if on_gpu and gpus and launch.here > gpus:
            problems.append(
                f"{launch.by} has started {launch.here} processes on this machine, "
                f"which has {gpus} GPU{'s'[: gpus > 1]}"
            )
    several = nodes > 1 or (launch.processes if launch else count or 1) > 1
    if several and not on_gpu and trainer.get("sync_batchnorm"):
        problems.append("trainer.sync_batchnorm=true: works between GPUs only; trainer=ddp_cpu leaves it off")
    problems.raise_all("the trainer cannot be made:" if len(problems) > 1 else "")
    return {} if launch is None else {"devices": launch.here, "num_nodes": launch.processes // launch.here}


def world_size(trainer: DictConfig, launch: Launch | None) -> int:
    """Return how many processes train, each on a device.

    1 if `trainer.devices` can't be read, which :func:`check_devices` reports.
    """
    if launch is not None:
        return launch.processes
    gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    on_gpu = str(trainer.accelerator) in ("gpu", "cuda", "mps", "auto") and gpus > 0
    return (_count(trainer.devices, gpus if on_gpu else 1) or 1) * int(trainer.get("num_nodes", 1))


def accumulation(effective: int, batch_size: int, devices: int) -> int:
    """Return how many batches of `batch_size` on each of `devices` make one optimiser step of `effective` images.

    Raises:
        UserError: no number of batches does; the message names the next `data.batch_size` (or `effective_batch`) that
            can.
    """
    if effective > 0 and effective % (batch_size * devices) == 0:
        return effective // (batch_size * devices)
    each = effective // devices
    if effective % devices or each < 1:
        way = f"effective_batch={devices * batch_size * max(1, round(effective / (devices * batch_size)))}"
    else:
        way = f"data.batch_size={max(size for size in range(1, min(batch_size, each) + 1) if each % size == 0)}"
    made = f"data.batch_size={batch_size} on {devices} device{'s'[: devices > 1]}"
    raise UserError(
        f"effective_batch={effective} can't be made of {made}; "
        f"take {way}, or effective_batch=null for one batch per step"
    )


def cluster(launch: Launch | None) -> ClusterEnvironment:
    """Return Lightning's environment for whatever started the processes.

    Stopping and requeuing are handled by this project (`scripts/slurm.sbatch`), not by Lightning.
    """
    if launch is None:
        return LightningEnvironment()
    return TorchElasticEnvironment() if launch.by == "torchrun" else SLURMEnvironment(auto_requeue=False)


def _count(devices: Any, there: int) -> int | None:
    """Return how many devices are meant; None if no number can be read from it."""
    if str(devices) in ("auto", "-1"):
        return there
    try:
        found = len(_indices(devices)) or int(devices)
    except (TypeError, ValueError):
        return None
    return found if found > 0 else None


def _indices(devices: Any) -> list[int]:
    """Return the 1-based positions of a list of devices (`[0,2]` or `"0,2"`)."""
    listed = devices.split(",") if isinstance(devices, str) and "," in devices else devices
    return [] if isinstance(listed, (int, str)) else [int(index) + 1 for index in listed]
