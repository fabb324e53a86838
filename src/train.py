"""Train a network, then evaluate it once on the test sets: ``python -m src.train experiment=quickstart``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src.cli.command import command
from src.cli.run_folder import held
from src.pipeline.start import check_start


def train(cfg: DictConfig) -> dict[str, float]:
    """Train and test as ``conf/train.yaml`` says; return the last logged measures and those of the test.

    Data, configuration and checkpoint are checked before any work starts.

    Raises:
        UserError: wrong input, all problems of a kind at once; a full disk; a loss that is not finite.
        Interrupted: Ctrl-C or SIGTERM, after the state was saved and the line that resumes it printed.
    """
    # Imported here: these import torch, and a mistake on the command line is reported sooner without it.
    from src.distributed.signals import StopRequest
    from src.loggers.tracker import closing
    from src.pipeline.fit import announce, build, fit
    from src.pipeline.preflight import prepare
    from src.pipeline.test import final_test

    with held(Path(cfg.paths.output_dir)):
        prepared, request = prepare(cfg), StopRequest()
        trainer = build(prepared, request)
        with closing(trainer.loggers):
            announce(prepared, trainer)
            scores = fit(prepared, trainer, request) if cfg.train else {}
            # A single process tests: the report lists single images in their order.
            if cfg.test and trainer.is_global_zero:
                scores |= final_test(prepared, trainer)
    return scores


@command("train", check_files=check_start)
def main(cfg: DictConfig) -> Any:
    """Run the command line of :func:`train`."""
    train(cfg)


if __name__ == "__main__":
    main()
