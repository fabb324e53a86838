"""Evaluate a trained network on the test sets: ``python -m src.eval ckpt_path=FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src.checkpoints.finding import check_ckpt_path
from src.cli.command import command
from src.cli.run_folder import held


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Rebuild the network of ``cfg.ckpt_path`` and test it; what ``cfg`` sets overrides the checkpoint's own data.

    Raises:
        UserError: wrong input, found before the network runs.
    """
    # Imported here: these import torch, and a mistake on the command line is reported sooner without it.
    from src.pipeline.preflight import prepare_test
    from src.pipeline.test import run_test

    with held(Path(cfg.paths.output_dir)):
        ready = prepare_test(cfg)
        maps_dir = ready.output_dir / "maps"
        return run_test(
            ready.module,
            ready.datamodule,
            cfg.trainer,
            ready.output_dir,
            ready.ckpt_path,
            ready.options,
            cfg.workers,
            maps_dir,
        )


@command("eval", check_files=check_ckpt_path)
def main(cfg: DictConfig) -> Any:
    """Run the command line of :func:`evaluate`."""
    evaluate(cfg)


if __name__ == "__main__":
    main()
