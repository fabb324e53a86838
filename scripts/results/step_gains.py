"""What each part of the mask step gains: ``python -m scripts.results.step_gains CKPT [data.root=DATA] [--results docs/results]``.

M̂_k is M_{k−1} plus four things: the evidence of U, λ's memory, ∇S and the L_S term (method.md 3.5). For every image of the hold-out of
a checkpoint of RUN each of them is added alone, and the two that bring something new, U's evidence and ∇S, together. The mean gains
are printed and stored for docs/results.md. Under 0.001 a step is idle (method.md 3.5).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from scripts.results.archive import Gains, Key
from scripts.results.store import DEFAULT, key_and_commit, store_gains
from scripts.results.tables import gain_table
from src.cli.command import console
from src.cli.script import ScriptParser
from src.models.diagnostics import gains_by_part
from src.pipeline.reopen import load_trained_run
from src.report.tables.table import terminal
from src.utils.errors import UserError


@torch.no_grad()
def mean_gains(checkpoint_path: Path, data: Path | None, model: str = "run") -> tuple[Key, str, Gains]:
    """What was looked into, the network's commit, and the gains on its hold-out, each the mean over images.

    Args:
        data: data.root, where it is not the one of the training. model: the network's name in the tables.

    Raises:
        UserError: no checkpoint of RUN, one without a mask step or that does not say of which commit it is, or data that cannot be used.
    """
    net, config, datamodule = load_trained_run(checkpoint_path, data)
    if not net.mask_steps:
        raise UserError(f"{checkpoint_path}: has no mask step")
    key, commit = key_and_commit(config, datamodule.test_names[0], model, checkpoint_path)
    sums: dict[str, torch.Tensor] = {}
    images = 0
    for batch in datamodule.test_dataloader()[0]:
        for i, image in enumerate(batch["image"]):
            valid = batch["valid"][i : i + 1] if "valid" in batch else None
            gains = gains_by_part(net, image[None], net(image[None]), batch["mask"][i : i + 1], valid)
            sums = {part: sums.get(part, torch.zeros(())) + torch.stack(values) for part, values in gains.items()}
            images += 1
    means = {part: (total / images).tolist() for part, total in sums.items()}
    return key, commit, {part: dict(enumerate(values, start=1)) for part, values in means.items()}


def main() -> None:
    """The command line of :func:`mean_gains`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_data_root(of_training=True)
    parser.add_argument("--model", default="run", help="its name in the tables (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=DEFAULT, help="where the numbers are stored (default: %(default)s)")
    parser.add_argument("--replace", action="store_true", help="put these numbers in the place of stored ones")
    parser.run(_look_and_store)


def _look_and_store(arguments: argparse.Namespace) -> None:
    key, commit, gains = mean_gains(arguments.checkpoint, arguments.data_root, arguments.model)
    console().print(terminal(gain_table(key, gains)))
    path = store_gains(key, commit, gains, arguments.results, arguments.replace)
    console().print(f"Stored: {path}", highlight=False)


if __name__ == "__main__":
    main()
