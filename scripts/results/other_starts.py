"""What the stages make of another start: ``python -m scripts.results.other_starts CKPT [data.root=DATA] [--results docs/results]``.

Unfolds every image of the hold-out of a checkpoint of RUN from its own M_0 and from others: the truth, the truth inverted, nothing,
one half everywhere, the truth of another image. A network whose stages trust the mask keeps what it is given; one that decides by
its features alone ends at the same place from everywhere. The mean S_α and MAE of every map are printed and stored for docs/results.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from scripts.results.archive import Key, Starts
from scripts.results.store import DEFAULT, PROTOCOL, key_and_commit, store_starts
from scripts.results.tables import start_table
from src.cli.command import console
from src.cli.script import ScriptParser
from src.models.outputs import masks_at_size, stage_logits
from src.pipeline.reopen import load_trained_run
from src.report.tables.table import terminal
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
"""Name → M_0 of image i, (1,1,S,S) in [0,1], from the truths of all."""


@torch.no_grad()
def unfold_from_others(checkpoint_path: Path, data: Path | None, model: str = "run") -> tuple[Key, str, Starts]:
    """What was scored, the network's commit, and the scores of every start on its hold-out.

    Raises:
        UserError: no checkpoint of RUN, one that does not say of which commit it is, or data that cannot be used.
    """
    net, config, datamodule = load_trained_run(checkpoint_path, data)
    key, commit = key_and_commit(config, datamodule.test_names[0], model, checkpoint_path)
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
                scorer.add(start, name, {k: masks_at_size(maps, [mask])[0] for k, maps in logits.items()}, mask, valid[i])
        scores = scorer.results()
    starts = {start: {name: one.scalars for name, one in maps.items()} for start, maps in scores.items()}
    return key, commit, starts


def main() -> None:
    """The command line of :func:`unfold_from_others`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_data_root(of_training=True)
    parser.add_argument("--model", default="run", help="its name in the tables (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=DEFAULT, help="where the numbers are stored (default: %(default)s)")
    parser.add_argument("--replace", action="store_true", help="put these numbers in the place of stored ones")
    parser.run(_look_and_store)


def _look_and_store(arguments: argparse.Namespace) -> None:
    key, commit, starts = unfold_from_others(arguments.checkpoint, arguments.data_root, arguments.model)
    console().print(terminal(start_table(key, starts)))
    path = store_starts(key, commit, starts, arguments.results, arguments.replace)
    console().print(f"Stored: {path}", highlight=False)


if __name__ == "__main__":
    main()
