"""Unfold from starting masks other than the network's own M_0.

    python -m scripts.results.other_starts CKPT [data.root=DATA] [--results docs/results]

CKPT is a checkpoint of RUN. Every image of its hold-out is unfolded from its own M_0 and from other starts: the true
mask, its inverse, an empty mask, one half everywhere, and another image's true mask. A network whose stages trust the
mask keeps the mask that it is given; one that only uses its features ends at the same mask from every start. The mean
S_α and MAE of every stage mask are printed and stored for docs/results/mechanism.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from scripts.results.archive import PROTOCOL
from scripts.results.mechanism_tables import start_table
from scripts.results.store import identity, store_findings
from src.models.outputs import maps_at_size, stage_logits
from src.pipeline.reopen import load_trained_run
from src.scoring.pool import WorkerPool
from src.scoring.scorer import MapScorer
from src.utils.process import available_cores

STARTS: dict[str, Callable[[Sequence[Tensor], int], Tensor]] = {
    "the truth": lambda truths, i: truths[i],
    "the truth inverted": lambda truths, i: 1 - truths[i],
    "another image's truth": lambda truths, i: truths[(i + 1) % len(truths)],
    "one half": lambda truths, i: torch.full_like(truths[i], 0.5),
    "nothing": lambda truths, i: torch.zeros_like(truths[i]),
}
"""Name → function of all truths and i that returns M_0 of image i, (1,1,S,S) in [0,1]."""


@torch.no_grad()
def unfold_from_others(checkpoint_path: Path, data: Path | None, model: str = "run") -> pd.DataFrame:
    """Return the scores of every start on a network's hold-out, means over images, as rows of the table `starts`.

    Args:
        checkpoint_path: a checkpoint of RUN.
        data: data.root, if it differs from the training's.
        model: the network's name in the tables.

    Raises:
        UserError: not a checkpoint of RUN, one without a commit, or data that cannot be used.
    """
    net, config, datamodule = load_trained_run(checkpoint_path, data)
    about = identity(config, datamodule.test_names[0], model, checkpoint_path)
    batches = list(datamodule.test_dataloader()[0])
    images = torch.cat([batch["image"] for batch in batches])
    names = [name for batch in batches for name in batch["name"]]
    masks = [mask for batch in batches for mask in batch["mask"]]
    valid = [one for batch in batches for one in batch.get("valid") or [None] * len(batch["mask"])]
    size = (images.shape[-2], images.shape[-1])
    truths = [F.interpolate(mask[None, None].float(), size, mode="area") for mask in masks]
    with WorkerPool(available_cores()) as pool:
        scorer = MapScorer(PROTOCOL, (), pool)
        for i, (name, mask) in enumerate(zip(names, masks, strict=True)):
            for start, made in (("its own", None), *((start, make(truths, i)) for start, make in STARTS.items())):
                logits = stage_logits(net(images[i : i + 1], made))
                scorer.add(start, name, partial(maps_at_size, logits, mask), mask, valid[i])
        scores = scorer.results()
    return pd.DataFrame(
        about | {"start": start, "map": name} | {measure: one.scalars[measure] for measure in ("s_alpha", "mae")}
        for start, maps in scores.items()
        for name, one in maps.items()
    )


def main() -> None:
    """Run the command line of :func:`unfold_from_others`."""
    store_findings(__doc__, "starts", unfold_from_others, start_table)


if __name__ == "__main__":
    main()
