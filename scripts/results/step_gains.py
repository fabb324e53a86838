"""Measure the gain of each part of the mask step.

    python -m scripts.results.step_gains CKPT [data.root=DATA] [--results docs/results]

M̂_k is M_{k−1} plus four parts: the evidence of U, λ's memory, ∇S and the L_S term (docs/explanation/method.md 3.5).
CKPT is a checkpoint of RUN. For every image of its hold-out, each part is added alone, and the two that bring new
information (U's evidence and ∇S) are also added together. The mean gains are printed and stored for
docs/results/mechanism.md. A step that gains less than 0.001 does nothing (docs/explanation/method.md 3.5).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from scripts.results.mechanism_tables import gain_table
from scripts.results.store import identity, store_findings
from src.models.diagnostics import gains_by_part
from src.pipeline.reopen import load_trained_run
from src.utils.errors import UserError


@torch.no_grad()
def mean_gains(checkpoint_path: Path, data: Path | None, model: str = "run") -> pd.DataFrame:
    """Return the gains on a network's hold-out, means over images, as rows of the table `gains`.

    Args:
        checkpoint_path: a checkpoint of RUN.
        data: data.root, if it differs from the training's.
        model: the network's name in the tables.

    Raises:
        UserError: not a checkpoint of RUN, one without a mask step or without a commit, or data that cannot be used.
    """
    net, config, datamodule = load_trained_run(checkpoint_path, data)
    if not net.mask_steps:
        raise UserError(f"{checkpoint_path}: has no mask step")
    about = identity(config, datamodule.test_names[0], model, checkpoint_path)
    sums: dict[str, torch.Tensor] = {}
    images = 0
    for batch in datamodule.test_dataloader()[0]:
        for i, image in enumerate(batch["image"]):
            valid = batch["valid"][i : i + 1] if "valid" in batch else None
            gains = gains_by_part(net, image[None], net(image[None]), batch["mask"][i : i + 1], valid)
            sums = {part: sums.get(part, torch.zeros(())) + torch.stack(values) for part, values in gains.items()}
            images += 1
    return pd.DataFrame(
        about | {"part": part, "step": step, "gain": gain}
        for part, total in sums.items()
        for step, gain in enumerate((total / images).tolist(), start=1)
    )


def main() -> None:
    """Run the command line of :func:`mean_gains`."""
    store_findings(__doc__, "gains", mean_gains, gain_table)


if __name__ == "__main__":
    main()
