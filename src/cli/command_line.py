"""The command line that started a run, for messages that say how to resume it."""

from __future__ import annotations

import shlex
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from src.utils.launch import launched


def command_line(output_dir: Path, *overrides: str) -> str:
    """Return what was typed, for this job alone, in the run's own folder and with other overrides."""
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    replaced = ("paths.output_dir=", "sweep=", *(f"{override.partition('=')[0]}=" for override in overrides))
    words = [word for word in typed if not word.startswith(replaced)]
    launch = launched()
    start = {"torchrun": "torchrun …", "srun": "srun python"}.get(launch.by if launch else "", "python")
    return f"{start} {shlex.join(['-m', 'src.train', *words, f'paths.output_dir={output_dir}', *overrides])}"
