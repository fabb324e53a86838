"""Train, evaluate and predict on synthetic camouflage: scores and pictures within minutes, without any data set.

`make quickstart` runs this. One run folder holds everything; at the end the next commands are printed, ready to run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from src.cli.command import CONF, console
from src.cli.command_line import override, shell_line
from src.cli.script import ScriptParser
from src.cli.type_check import check_types
from src.data.synthetic import SyntheticCamouflage
from src.predict import predict
from src.train import train

NEXT = """\
  train on your images      {own}
                            (MINE/images and MINE/masks, with the same file names)
  evaluate                  {evaluate}
  predict                   {predict}
  a plain baseline          {baseline}
  every command             make help"""


def main() -> None:
    """Run the command line of :func:`run`."""
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "overrides", nargs="*", help="Hydra overrides of experiment=quickstart, e.g. trainer.max_epochs=2"
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/quickstart") / time.strftime("%Y-%m-%d_%H-%M-%S"))
    parser.run(lambda arguments: run(arguments.output, arguments.overrides))


def run(folder: Path, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Train, test and predict into ``folder``; return the measures of :func:`src.train.train`."""
    start, out = time.perf_counter(), console()
    out.rule("RUN quickstart: training on synthetic camouflage")
    scores = train(_config("train", ["experiment=quickstart", *overrides], folder))
    checkpoint = folder / "checkpoints" / "best.ckpt"
    out.rule("predicting new scenes")
    _write_scenes(folder / "images")
    places = [
        override("ckpt_path", checkpoint),
        override("input", folder / "images"),
        override("output", folder / "predictions"),
    ]
    predict(_config("predict", [*places, "overlay=true"], folder))
    out.rule(f"done in {(time.perf_counter() - start) / 60:.1f} minutes")
    out.print(f"Look at {folder / 'report.html'} and {folder / 'predictions' / 'overlay'}/", highlight=False)
    network = override("ckpt_path", checkpoint)
    lines = {
        "own": shell_line("src.train", "experiment=camo_lite0", "data=folder", "data.root=MINE"),
        "evaluate": shell_line("src.eval", network),
        "predict": shell_line("src.predict", network, "input=FOLDER", "output=FOLDER", "overlay=true"),
        "baseline": shell_line("src.train", "experiment=quickstart", "model=fpn"),
    }
    out.print("What next", style="bold")
    out.print(NEXT.format(**lines), highlight=False, soft_wrap=True, markup=False)
    return scores


def _config(name: str, overrides: list[str], folder: Path) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose(name, [*overrides, override("paths.output_dir", folder)])
    check_types(cfg)
    return cfg


def _write_scenes(folder: Path, count: int = 8) -> None:
    """Write a folder of new scenes that are in no split; they stand in for a user's own images."""
    folder.mkdir(parents=True)
    scenes = SyntheticCamouflage(count, size=(192, 256), seed=1, split="test")
    for i in range(count):
        Image.fromarray(scenes[i].image).save(folder / f"{scenes.names[i]}.png")


if __name__ == "__main__":
    main()
