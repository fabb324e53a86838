"""Segment a folder of images: ``python -m src.predict ckpt_path=FILE input=FOLDER output=FOLDER [overlay=true] [stages=true]``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from rich.progress import track

from src.checkpoints.finding import resolve_checkpoint
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import rebuild
from src.cli.command import command, console
from src.data.dataset import to_tensor
from src.data.readers import read_image, read_whole_header
from src.data.settings import MIN_IMAGE_SIZE
from src.data.sources import list_images
from src.data.transforms import resize_image
from src.metrics.functional import to_8bit
from src.models.outputs import masks_at_size
from src.models.rounds import unwrapped
from src.models.variant import Variant
from src.module import COSModule
from src.report.figures.overlay import overlay
from src.report.figures.unfolding import StagedNetwork, draw_unfolding
from src.utils.errors import UserError


def predict(cfg: DictConfig) -> list[Path]:
    """Write one grey PNG an image, at the image's own size (0 background, 255 object), overlays and pictures of the stages if asked for.

    Returns:
        The maps' paths, in the order of the images' names.

    Raises:
        UserError: no image, unreadable images, or files that would be overwritten; found before the network runs.
    """
    path = resolve_checkpoint(cfg.ckpt_path, cfg.paths.output_dir)
    if path is None:
        raise UserError("ckpt_path: name the checkpoint to predict with, e.g. ckpt_path=outputs/…/checkpoints/best.ckpt")
    output = Path(cfg.output)
    images = _images(Path(cfg.input))
    written = {stem: output / f"{stem}.png" for stem in images}
    overlays = {stem: output / "overlay" / f"{stem}.png" for stem in images} if cfg.overlay else {}
    stages = {stem: output / "stages" / f"{stem}.png" for stem in images} if cfg.stages else {}
    files = [*written.values(), *overlays.values(), *stages.values()]
    variant = Variant(cfg.closing_step, cfg.rounds, cfg.sharpness)
    _check(images, files, variant, cfg)
    checkpoint = read_checkpoint(path)
    module = rebuild(checkpoint, path, variant=variant).eval().to(_device(cfg.device))
    net = unwrapped(module.net)
    if stages and not isinstance(net, StagedNetwork):
        raise UserError(f"stages=true: {type(net).__name__} of {path} has no stages; leave it out")
    size = cfg.data.image_size or checkpoint["config"]["data"]["image_size"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    stems, start = list(images), time.perf_counter()
    batches = [stems[i : i + cfg.batch_size] for i in range(0, len(stems), cfg.batch_size)]
    for batch in track(batches, description="Predicting", console=console()):
        pictures = [read_image(images[stem]) for stem in batch]
        for stem, picture, mask in zip(batch, pictures, segment(module, pictures, size), strict=True):
            Image.fromarray(to_8bit(mask)).save(written[stem])
            if stem in overlays:
                Image.fromarray(overlay(picture, mask)).save(overlays[stem])
            if stem in stages and isinstance(net, StagedNetwork):
                draw_unfolding(stages[stem], net, to_tensor(resize_image(picture, size)).to(module.device), images[stem].name)
    seconds = time.perf_counter() - start
    console().print(f"Written: {len(stems)} maps to {output}/ ({len(stems) / seconds:.1f} images/s at {size} × {size} px)", highlight=False)
    return list(written.values())


@torch.no_grad()
def segment(module: COSModule, pictures: list[np.ndarray], image_size: int) -> list[np.ndarray]:
    """uint8 RGB pictures (h, w, 3) of any sizes → probability maps (h, w), float64 in [0,1]."""
    batch = torch.stack([to_tensor(resize_image(picture, image_size)) for picture in pictures]).to(module.device)
    sizes = [torch.empty(picture.shape[:2], device="meta") for picture in pictures]
    return [mask.double().cpu().numpy() for mask in masks_at_size(module(batch).mask_logits, sizes)]


def _images(source: Path) -> dict[str, Path]:
    """Stem → file of one image or of a folder."""
    if source.is_file():
        return {source.stem: source}
    if not source.is_dir():
        raise UserError(f"input: there is no file or folder {source}")
    found = list_images(source)
    if not found:
        raise UserError(f"input: {source} holds no image (looked for .jpg, .png, .bmp, .tif, .gif, .webp, .ppm; not in subfolders)")
    twice = [f"{paths[0].name} and {paths[1].name}" for paths in found.values() if len(paths) > 1]
    if twice:
        raise UserError(f"input: {source} holds images whose maps would have the same name:", twice)
    return {stem: paths[0] for stem, paths in found.items()}


def _check(images: dict[str, Path], outputs: list[Path], variant: Variant, cfg: DictConfig) -> None:
    problems, output = variant.problems(), Path(cfg.output)
    for file in images.values():
        try:
            read_whole_header(file)
        except UserError as error:
            problems.append(str(error))
    existing = [file for file in outputs if file.exists()] if not cfg.overwrite else []
    if existing:
        problems.append(f"output: {existing[0]} exists ({len(existing)} such files); choose another folder, or overwrite=true")
    if output.exists() and not output.is_dir():
        problems.append(f"output: {output} is a file; name a folder")
    if cfg.data.image_size is not None and cfg.data.image_size < MIN_IMAGE_SIZE:
        problems.append(f"data.image_size: got {cfg.data.image_size}, expected at least {MIN_IMAGE_SIZE}")
    if cfg.batch_size < 1:
        problems.append(f"batch_size: got {cfg.batch_size}, expected at least 1")
    if problems:
        raise UserError("nothing was predicted:", problems)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        raise UserError(f"device={name}: expected auto, cpu or cuda" + (", and there is no CUDA device here" if name == "cuda" else ""))
    return torch.device(name)


@command("predict")
def main(cfg: DictConfig) -> Any:
    """The command line of :func:`predict`."""
    predict(cfg)


if __name__ == "__main__":
    main()
