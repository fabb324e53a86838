"""Draw the images that a RUN segments best and worst, stage by stage.

    python -m scripts.results.pictures CKPT --out FOLDER [data.root=DATA] [--photographs]

CKPT is a checkpoint of RUN. Three kinds of images of its hold-out are drawn at the network's input size: those whose
IoU rises most from M_0 to the final mask, those whose IoU falls most, and those with the lowest final IoU. Only these
numbers decide. Without ``--photographs`` the pictures show masks, steps and weights only, for pages that may not show
the images.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.checkpoints.shipped import path_of
from src.cli.command import console
from src.cli.script import ScriptParser
from src.models.outputs import stage_logits
from src.models.run import RUN
from src.pipeline.reopen import load_trained_run
from src.report.figures.unfolding import draw_unfolding
from src.utils.errors import UserError


@torch.no_grad()
def draw(checkpoint_path: Path, out: Path, data: Path | None, each: int, photographs: bool) -> list[Path]:
    """Draw ``each`` images of every kind; return the files.

    Raises:
        UserError: not a checkpoint of RUN, unusable data, or ``out`` holds pictures already.
    """
    if out.is_dir() and any(out.glob("*.png")):
        raise UserError(f"--out {out}: holds pictures already; choose another folder")
    net, _, datamodule = load_trained_run(checkpoint_path, data)
    samples = [
        {"name": name, "image": image, "mask": mask}
        for batch in datamodule.test_dataloader()[0]
        for name, image, mask in zip(batch["name"], batch["image"], batch["mask"], strict=True)
    ]
    first, last = torch.tensor([_ious(net, sample) for sample in samples]).T
    gained = (last - first).argsort(descending=True)
    kinds = {"gained": gained[:each], "lost": gained.flip(0)[:each], "wrong": last.argsort()[:each]}
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for kind, places in kinds.items():
        for number, i in enumerate(places.tolist(), start=1):
            sample, path = samples[i], out / f"{kind}_{number}.png"
            final = list(stage_logits(net(sample["image"][None])))[-1]
            name = f"{sample['name']}, IoU {first[i]:.2f} (M_0) → {last[i]:.2f} ({final})"
            draw_unfolding(path, net, sample["image"], name, sample["mask"], photographs)
            files.append(path)
    return files


def _ious(net: RUN, sample: dict[str, Any]) -> tuple[float, float]:
    """Return the IoU (threshold 0.5) of M_0 and of the final mask, at the size of the true mask."""
    output = net(sample["image"][None])
    return _iou(output.coarse_logits, sample["mask"]), _iou(output.mask_logits, sample["mask"])


def _iou(logits: Tensor, truth: Tensor) -> float:
    size = (truth.shape[-2], truth.shape[-1])
    found = torch.nn.functional.interpolate(logits, size, mode="bilinear")[0, 0] > 0
    return float((found & truth).sum() / (found | truth).sum().clamp(min=1))


def main() -> None:
    """Run the command line of :func:`draw`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("checkpoint", type=path_of)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_data_root(of_training=True)
    parser.add_argument("--each", type=int, default=2, help="images of each kind (default: %(default)s)")
    parser.add_argument("--photographs", action="store_true", help="also show the image, B_k and Ĉ_k")
    parser.run(_draw)


def _draw(arguments: argparse.Namespace) -> None:
    for path in draw(arguments.checkpoint, arguments.out, arguments.data_root, arguments.each, arguments.photographs):
        console().print(f"Written: {path}", highlight=False)


if __name__ == "__main__":
    main()
