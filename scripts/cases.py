"""Reproduce situations in which people lost time or data, and print what happens: `python -m scripts.cases`.

Each situation comes from a public bug report; its tiny inputs are made here. `python -m scripts.cases 3 10` runs only
the cases 3 and 10.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from src.cli.script import ScriptParser

TRAIN = [
    "src.train",
    "data=folder",
    "encoder=tf_efficientnet_lite0",
    "encoder.weights=null",
    "model=run_quarter",
    "trainer=cpu",
]
TRAIN += ["data.image_size=64", "data.batch_size=4", "data.num_workers=0", "trainer.max_epochs=1", "test=false"]
Mask = Callable[[np.ndarray], np.ndarray]


class Case(NamedTuple):
    """A situation to try.

    Attributes:
        number: its number in the list.
        report: the public bug report that it comes from.
        title: the situation in a few words.
        run: reproduces it in an empty folder and returns the outcome in words.
    """

    number: int
    report: str
    title: str
    run: Callable[[Path], str]


def scene(seed: int, height: int = 96, width: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Return coloured noise with a disc of another texture, uint8 (H, W, 3), and its mask, bool (H, W)."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 150, (height, width, 3)).astype(np.int16)
    y, x = rng.integers(height // 3, 2 * height // 3), rng.integers(width // 3, 2 * width // 3)
    ys, xs = np.mgrid[:height, :width]
    mask = (ys - y) ** 2 + (xs - x) ** 2 < (height // 5) ** 2
    image[mask] += np.array([70, -40, -40], np.int16)
    return image.clip(0, 255).astype(np.uint8), mask


def whole(mask: np.ndarray) -> np.ndarray:
    """Return a mask of 0 and 255, uint8."""
    return mask.astype(np.uint8) * 255


def rim(mask: np.ndarray) -> np.ndarray:
    """Return a mask of 0 and 1 with a rim of 255 around the object, uint8."""
    grown = [change(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) for change in (cv2.dilate, cv2.erode)]
    return np.where(grown[0] != grown[1], 255, mask).astype(np.uint8)


def draw(
    folder: Path, count: int = 12, made: Mask = whole, image: str = "im%03d.jpg", mask: str = "im%03d.png"
) -> Path:
    """Write ``folder/images`` and ``folder/masks``, and return ``folder``.

    Args:
        folder: the parent of both.
        count: the number of pairs.
        made: turns a bool mask into the values that are stored.
        image: pattern of the image files' names, with a place for the number.
        mask: pattern of the mask files' names, likewise.
    """
    for seed in range(count):
        picture, truth = scene(seed)
        for kind, name, values in (("images", image, picture), ("masks", mask, made(truth))):
            path = folder / kind / (name % seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    return folder


def run(*words: object, **variables: str | None) -> str:
    """Run a command of the project; return its exit status and its errors and warnings, or else its last line.

    Args:
        *words: the module and its arguments.
        **variables: environment variables to set; None removes one.
    """
    environment = {key: value for key, value in (os.environ | variables).items() if value is not None}
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    output = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if "Traceback (most recent call last):" in output:
        return f"exit {done.returncode}, TRACEBACK: {output[-1]}"
    told = [line for line in output if line.startswith(("error", "warning", "- "))] or output[-1:]
    return f"exit {done.returncode}: {' / '.join(told)[:300]}"


def train(data: Path, folder: Path, *words: str) -> str:
    """Train for one epoch; return the outcome."""
    return run(*TRAIN, f"data.root={data}", f"paths.output_dir={folder}", *words)


def trained(at: Path) -> Path:
    """Train, and return the checkpoint."""
    train(draw(at / "trained_on"), at / "run")
    return next(iter(sorted((at / "run").rglob("last.ckpt"))))


def inputs_stay(at: Path) -> str:
    """Case 1: predict into the input's own folder, with overwrite=true."""
    photos = draw(at / "D", 3, image="im%03d.png") / "images"
    before = [path.read_bytes() for path in sorted(photos.iterdir())]
    told = run("src.predict", f"ckpt_path={trained(at)}", f"input={photos}", f"output={photos}", "overwrite=true")
    same = before == [path.read_bytes() for path in sorted(photos.glob("*.png"))]
    return f"photographs {'are unchanged' if same else 'ARE REPLACED'}; {told}"


def same_second(at: Path) -> str:
    """Case 2: start two trainings in the same second."""
    data, place = draw(at / "D"), {"cwd": at, "env": os.environ | {"PYTHONPATH": os.getcwd()}}
    command = [sys.executable, "-m", *TRAIN, f"data.root={data}"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **place) for _ in range(2)]  # type: ignore[call-overload]
    status = [one.wait(300) for one in both]
    return f"exit {status}, {len(list(at.rglob('last.ckpt')))} runs kept"


def masks(made: Mask, *words: str) -> Callable[[Path], str]:
    """Return a case (3 to 5): verify, train and score with masks of one kind."""

    def judged(at: Path) -> str:
        data = draw(at / "D", made=made)
        options = [word.replace("data.", "") for word in words]
        maps = draw(at / "M") / "masks"
        told = {
            "verify": run(
                "scripts.verify_data", "data=folder", f"data.root={data}", f"paths.output_dir={at / 'v'}", *words
            ),
            "train": train(data, at / "run", *words),
            "score": run(
                "src.score", f"preds={maps}", f"gts={data / 'masks'}", f"paths.output_dir={at / 's'}", *options
            ),
        }
        return "; ".join(f"{name} {words[:160]}" for name, words in told.items())

    return judged


def alpha(mask: np.ndarray) -> np.ndarray:
    """Return a mask as the alpha channel of a black image, uint8 (H, W, 4)."""
    return np.dstack([np.zeros((*mask.shape, 3), np.uint8), whole(mask)])


def drive(at: Path) -> str:
    """Case 6: DRIVE without test labels, as a published set and as a folder of the user's own."""
    for split, name in (("training", "%02d_training.tif"), ("test", "%02d_test.tif")):
        folder = draw(at / "DRIVE" / split, 20, image=name, mask="%02d_manual1.gif")
        (folder / "masks").rename(folder / "1st_manual")
        (folder / "mask").mkdir()
        for path in (folder / "images").iterdir():
            Image.fromarray(whole(cv2.circle(np.zeros((96, 128), np.uint8), (64, 48), 46, 1, -1) > 0)).save(
                folder / "mask" / f"{path.stem}_mask.gif"
            )
    for path in (at / "DRIVE" / "test" / "1st_manual").iterdir():
        path.unlink()
    (at / "DRIVE" / "test" / "1st_manual").rmdir()
    return (
        run("scripts.verify_data", "data=tubular", f"data.root={at}", f"paths.output_dir={at / 'v'}")
        + "; as the user's own set: "
        + train(at / "DRIVE" / "test", at / "run")
    )


def other_rate(at: Path) -> str:
    """Case 7: resume with another learning rate."""
    checkpoint = trained(at)
    return train(
        at / "trained_on", at / "run", "model.optimizer.lr=0.123", f"ckpt_path={checkpoint}", "trainer.max_epochs=2"
    )


def other_data(at: Path) -> str:
    """Case 8: resume with other data, in another folder."""
    return train(draw(at / "other", 20, image="x%03d.jpg", mask="x%03d.png"), at / "tuned", f"ckpt_path={trained(at)}")


def second_term(at: Path) -> str:
    """Case 9, the part that needs no container: end a training with two SIGTERMs."""
    command = [
        sys.executable,
        "-m",
        *TRAIN,
        f"data.root={draw(at / 'D', 200)}",
        f"paths.output_dir={at / 'run'}",
        "data.num_workers=2",
    ]
    process = subprocess.Popen(
        [*command, "trainer.max_epochs=50"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(25)
    start = time.monotonic()
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
    process.wait(60)
    return f"exit {process.returncode}, {time.monotonic() - start:.0f} s after the first SIGTERM"


def same_names(at: Path) -> str:
    """Case 10: train on two sets with the same file names, and evaluate."""
    for name in ("A", "B"):
        draw(at / "root" / "TrainDataset" / name)
    sets = ["data=cod", "data.train_sets=[A,B]", "data.test_sets=[]", "data.val_fraction=0.3"]
    train(at / "root", at / "run", *sets)
    checkpoint = next(iter(sorted((at / "run").rglob("last.ckpt"))))
    told = run("src.eval", f"ckpt_path={checkpoint}", "split=holdout", f"paths.output_dir={at / 'e'}")
    rows = (at / "e" / "per_image.csv").read_text().splitlines()[1:]
    return f"{len(list((at / 'e' / 'maps').rglob('*.png')))} maps for {len(rows)} images; {told[:80]}"


def again(at: Path) -> str:
    """Case 11: run the same multirun twice."""
    words = [*TRAIN, "-m", f"data.root={draw(at / 'D')}", f"paths.output_dir={at / 'm'}", "seed=0,1"]
    first = run(*words)
    second = run(*words)
    states = [path.read_text() for path in sorted((at / "m").rglob("job.json"))]
    finished = f"{sum('finished' in state for state in states)} of {len(states)} jobs finished"
    return f"{first[:40]} / again {second[:120]}; {finished}"


def odd_places(at: Path) -> str:
    """Cases 12 and 13: data and run folders with unusual characters in their names."""
    told = []
    for name in ("a b", "a=b,c", "(1) [2] {3} #'", "größe ß", "blank "):
        told.append(train(draw(at / name), at / f"run {name}")[:40])
    return " | ".join(told)


def formats(at: Path) -> str:
    """Case 14: rare image formats."""
    photos = draw(at / "D", 5) / "images"
    for seed, suffix, kind in ((1, ".jfif", "JPEG"), (2, ".avif", "AVIF"), (3, ".tga", "TGA"), (4, ".jp2", "JPEG2000")):
        Image.fromarray(scene(seed)[0]).save(photos / f"im{seed:03d}{suffix}", kind)
        (photos / f"im{seed:03d}.jpg").unlink()
    (photos / "x.heic").touch()
    told = run("src.predict", f"ckpt_path={trained(at)}", f"input={photos}", f"output={at / 'out'}")
    return f"{len(list((at / 'out').glob('*.png')))} of 5 pictures; {told}"


def texts(at: Path) -> str:
    """Case 15: values that YAML reads as a number or a list."""
    checkpoint, maps = trained(at), draw(at / "2024") / "masks"
    told = [
        run("src.predict", f"ckpt_path={checkpoint}", f"input={word}", f"output={at / 'o'}")[:90]
        for word in ("2024", "[a.jpg,b.jpg]")
    ]
    return " | ".join(
        [*told, run("src.score", f"preds={maps}", f"gts={maps}", "set=1e3", f"paths.output_dir={at / 's'}")[:90]]
    )


def homeless(at: Path) -> str:
    """Case 16: train without HOME. The other half of the report, a uid without a passwd entry, needs another user."""
    return run(
        *TRAIN,
        f"data.root={draw(at / 'D')}",
        f"paths.output_dir={at / 'run'}",
        HOME=None,
        COS_CACHE=None,
        XDG_CACHE_HOME=None,
    )


def more_images(at: Path) -> str:
    """Case 17: add images before a training with folds is resumed."""
    draw(at / "D")
    train(at / "D", at / "run", "data.folds=3", "data.test_fraction=0")
    draw(at / "D", 20)
    return train(at / "D", at / "run", "data.folds=3", "data.test_fraction=0", "ckpt_path=last", "trainer.max_epochs=2")


def odd_maps(at: Path) -> str:
    """Case 18: score maps of 0 and 1, and rotated maps, with the protocol raw."""
    gts, told = draw(at / "D") / "masks", []
    for name, made in (
        ("ones", lambda mask: mask.astype(np.uint8)),
        ("turned", lambda mask: np.ascontiguousarray(np.rot90(whole(mask)))),
    ):
        maps = draw(at / name, made=made) / "masks"
        told.append(
            run(
                "src.score",
                f"preds={maps}",
                f"gts={gts}",
                f"paths.output_dir={at / f's_{name}'}",
                "metrics.protocol=raw",
            )
        )
    return " | ".join(told)


def agent(at: Path) -> str:
    """Case 19: arguments as `wandb agent` passes them, under WANDB_MODE=disabled."""
    data = draw(at / "D")
    words = [f"--data.root={data}", "--model.optimizer.lr=0.001", f"--paths.output_dir={at / 'run'}", "logger=wandb"]
    told = run(*TRAIN, *words, WANDB_MODE="disabled", WANDB_SILENT="true")
    return (
        f"{told[:120]}; {len(list((at / 'run').rglob('offline-run-*')))} offline runs written under WANDB_MODE=disabled"
    )


def own_name(at: Path) -> str:
    """Case 20: evaluate on a folder of the user's own, data.test_sets=[.]."""
    told = run(
        "src.eval",
        f"ckpt_path={trained(at)}",
        f"data.root={draw(at / 'Frogs')}",
        "data.test_sets=[.]",
        f"paths.output_dir={at / 'e'}",
    )
    table = at / "e" / "per_image.csv"
    names = {row.split(",")[2] for row in table.read_text().splitlines()[1:]} if table.exists() else set()
    return f"called {', '.join(names)}; {told[:300]}"


def half_done(at: Path) -> str:
    """Case 21: complete a half-done prediction that includes a broken picture."""
    photos, out, checkpoint = draw(at / "D", 6) / "images", at / "out", trained(at)
    run("src.predict", f"ckpt_path={checkpoint}", f"input={photos}", f"output={out}")
    for path in sorted(out.glob("*.png"))[:2]:
        path.unlink()
    (photos / "broken.jpg").write_bytes(b"no picture")
    told = run(
        "src.predict",
        f"ckpt_path={checkpoint}",
        f"input={photos}",
        f"output={out}",
        "overwrite=missing",
        "on_error=skip",
    )
    return f"{len(list(out.glob('*.png')))} of 6 maps; {told}"


def trees(at: Path) -> str:
    """Case 22: files in subfolders, paired by name patterns."""
    nested = draw(at / "D", 12, image="seq/im%03d.jpg", mask="seq/im%03d_segmentation.png")
    maps = draw(at / "M", 12, mask="seq/im%03d_sal.png") / "masks"
    words = [f"preds={maps}", f"gts={nested / 'masks'}", f"paths.output_dir={at / 's'}"]
    told = [
        train(nested, at / "refused"),
        train(nested, at / "run", "data.masks=%s_segmentation.png", "data.test_fraction=0", "data.val_fraction=0"),
    ]
    return " | ".join([*told, run("src.score", *words, "preds_pattern=%s_sal", "gts_pattern=%s_segmentation")[:80]])


CASES = [
    Case(1, "rembg 94", "predict into its own input", inputs_stay),
    Case(2, "lightning-hydra-template 511", "two trainings in the same second", same_second),
    Case(3, "PaddleRS 212", "masks 0 / 1 / 255, plain", masks(rim)),
    Case(3, "PaddleRS 212", "masks 0 / 1 / 255, data.ignore_value=255", masks(rim, "data.ignore_value=255")),
    Case(4, "Pytorch-UNet 228", "labels 0 / 2", masks(lambda mask: mask.astype(np.uint8) * 2)),
    Case(5, "NeROIC 18", "mask in the alpha channel over black", masks(alpha)),
    Case(6, "retina-unet 76", "DRIVE without test labels", drive),
    Case(7, "pytorch/examples 816", "resume with another learning rate", other_rate),
    Case(8, "U-2-Net 42", "resume with other data in another folder", other_data),
    Case(9, "pytorch 1355", "two SIGTERMs, two workers", second_term),
    Case(10, "PySODEvalToolkit 28", "two sets with the same file names", same_names),
    Case(11, "hydra 1407", "the same multirun again", again),
    Case(13, "hydra 1577", "paths with unusual characters (12: run folders too)", odd_places),
    Case(14, "rembg 82", ".jfif .avif .tga .jp2 .heic", formats),
    Case(15, "BirefNet 209", "input=2024, input=[a.jpg,b.jpg], set=1e3", texts),
    Case(16, "h2o-llmstudio 974", "no HOME", homeless),
    Case(17, "litData 436", "images added before a resume with folds", more_images),
    Case(18, "SAM-Adapter 8", "0/1 maps and rotated maps under raw", odd_maps),
    Case(19, "wandb 1427", "arguments of wandb agent, WANDB_MODE=disabled", agent),
    Case(20, "SINet 10", "data.test_sets=[.]", own_name),
    Case(21, "MegaDetector 142", "a half-done prediction, a broken picture", half_done),
    Case(22, "cellpose 667", "subfolders and name patterns", trees),
]


def main() -> None:
    """Run the given cases, or all, and print a table in Markdown."""
    parser = ScriptParser(__doc__)
    parser.add_argument("numbers", nargs="*", type=int, help="cases to run (default: all)")
    parser.run(_run_cases)


def _run_cases(arguments: argparse.Namespace) -> None:
    _print_table([case for case in CASES if not arguments.numbers or case.number in arguments.numbers])


def _print_table(cases: Sequence[Case]) -> None:
    print("| n | report | situation | what happens |\n|---|---|---|---|")
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = case.run(Path(folder))
            except (OSError, subprocess.TimeoutExpired, StopIteration) as error:
                outcome = f"NOT RUN: {type(error).__name__}: {error}"
            outcome = outcome.replace(folder, "…").replace("|", "/")
        print(f"| {case.number} | {case.report} | {case.title} | {outcome} |", flush=True)


if __name__ == "__main__":
    main()
