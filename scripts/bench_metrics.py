"""Time `src.metrics.score` against pysodmetrics computing MAE, S, E, F and weighted F, and compare every number.

The two alternate in one run, one thread each; a Markdown table is printed. The time of `score` includes IoU, Dice, the
rates and their curves, and rounding to 8 bits; pysodmetrics gets the map in 8 bits. Needs the `dev` extra.
"""

from __future__ import annotations

import argparse
import os

if __name__ == "__main__":  # before NumPy is imported; importing this file does not change the environment
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from src.cli.script import ScriptParser
from src.metrics import score
from src.utils.errors import UserError

SIZES = ((384, 384), (737, 964), (1080, 1920))
CAMO = Path("TestDataset", "CAMO", "GT")
KEYS = ("mae", "s_alpha", "e_mean", "e_max", "e_adp", "f_mean", "f_max", "f_adp", "f_weighted")

Pair = tuple[NDArray[np.float32], NDArray[np.bool_]]


def main() -> None:
    """Run the command line of :func:`bench`."""
    parser = ScriptParser(__doc__)
    parser.add_data_root()
    parser.add_argument(
        "--sizes", nargs="+", default=[f"{h}x{w}" for h, w in SIZES], metavar="HxW", help="sizes of the synthetic maps"
    )
    parser.add_argument("--maps", type=int, default=4, help="maps of each size (default 4)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each; the fastest is reported (default 5)")
    parser.add_argument(
        "--masks",
        type=Path,
        help=f"folder of real masks, skipped if it does not exist (default: {CAMO} in the data root)",
    )
    parser.add_argument("--protocol", choices=("field", "raw"), default="field")
    parser.run(bench)


def bench(options: argparse.Namespace) -> None:
    """Measure and print the table."""
    masks = options.masks or options.data_root / CAMO
    cases = {f"{size.replace('x', '×')}, synthetic": _synthetic(size, options.maps) for size in options.sizes}
    if masks.is_dir():
        cases[f"masks of {options.masks}" if options.masks else "real masks of CAMO-Test"] = _real(masks, options.maps)
    print(
        f"Protocol {options.protocol}, one thread, {options.maps} maps per row, ms per map, "
        f"fastest of {options.repeats}.\n"
    )
    print("| maps | pixels | pysodmetrics | ours | ratio | grey values > 0 | largest difference |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, pairs in cases.items():
        print(_row(name, pairs, options.protocol, options.repeats), flush=True)


def network_like(target: NDArray[np.bool_], seed: int) -> NDArray[np.float32]:
    """Return a map that resembles a network's prediction of a mask, (H, W) float32 in [0, 1].

    It is σ of the smoothed mask plus coarse and fine Gaussian noise, so it has soft edges, errors as large as parts of
    the object, noise and many grey levels.
    """
    rng = np.random.default_rng(seed)
    side = min(target.shape)
    logit = 9 * gaussian_filter(target.astype(np.float32), side / 60) - 5
    for scale, strength in ((side / 12, 1.5), (side / 100, 0.6)):
        noise = gaussian_filter(rng.standard_normal(target.shape, dtype=np.float32), scale)
        logit += strength * noise / noise.std()
    return 1 / (1 + np.exp(-logit))


def _synthetic(size: str, count: int) -> list[Pair]:
    height, width = map(int, size.split("x"))
    pairs = []
    for seed in range(count):
        blob = gaussian_filter(
            np.random.default_rng(seed).standard_normal((height, width), dtype=np.float32), min(height, width) / 9
        )
        target = blob > np.quantile(blob, 0.85)
        pairs.append((network_like(target, seed), target))
    return pairs


def _real(folder: Path, count: int) -> list[Pair]:
    files = sorted(folder.iterdir())
    targets = [np.array(Image.open(file).convert("L")) > 128 for file in files[:: max(1, len(files) // count)][:count]]
    return [(network_like(target, seed), target) for seed, target in enumerate(targets)]


def _row(name: str, pairs: list[Pair], protocol: str, repeats: int) -> str:
    theirs_ms = ours_ms = difference = 0.0
    for pred, target in pairs:
        score(pred, target, protocol)  # compile
        theirs_time, ours_time, theirs, ours = _timed(pred, target, protocol, repeats)
        theirs_ms += theirs_time / len(pairs)
        ours_ms += ours_time / len(pairs)
        difference = max(difference, *(abs(ours[key] - theirs[key]) for key in KEYS))
    pixels = sum(target.size for _, target in pairs) / len(pairs)
    share = np.mean([np.mean(np.round(255 * pred) > 0) for pred, _ in pairs])
    return (
        f"| {name} | {pixels / 1e6:.2f} M | {theirs_ms:.1f} ms | {ours_ms:.2f} ms | {theirs_ms / ours_ms:.1f}× "
        f"| {share:.0%} | {difference:.1e} |"
    )


def _timed(
    pred: NDArray[np.float32], target: NDArray[np.bool_], protocol: str, repeats: int
) -> tuple[float, float, dict, dict]:
    """Return (their ms, our ms, their scores, our scores); times are the fastest of `repeats` alternating runs."""
    grey, mask = np.round(pred.astype(np.float64) * 255).astype(np.uint8), target.astype(np.uint8) * 255
    exact = pred.astype(np.float64)
    calls: list[Callable[[], dict[str, float]]] = [
        (lambda: _toolbox(grey, mask, True)) if protocol == "field" else (lambda: _toolbox(exact, target, False)),
        lambda: score(pred, target, protocol).scalars,
    ]
    best, results = [float("inf")] * 2, [call() for call in calls]
    for _ in range(repeats):
        for index, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[index] = min(best[index], (time.perf_counter() - start) * 1000)
    return best[0], best[1], results[0], results[1]


def _toolbox(pred: NDArray, target: NDArray, normalize: bool) -> dict[str, float]:
    """Return the five measures of pysodmetrics under our keys."""
    try:
        import py_sod_metrics as sod
    except ImportError as error:
        raise UserError(
            "this benchmark compares with pysodmetrics: pip install pysodmetrics==1.6.2, or make install"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fmeasure announces its removal
        m, s, e, f, w = sod.MAE(), sod.Smeasure(), sod.Emeasure(), sod.Fmeasure(), sod.WeightedFmeasure()
    for measure in (m, s, e, f, w):
        measure.step(pred=pred, gt=target, normalize=normalize)
    em, fm = e.get_results()["em"], f.get_results()["fm"]
    return {
        "mae": m.get_results()["mae"],
        "s_alpha": s.get_results()["sm"],
        "e_mean": em["curve"].mean(),
        "e_max": em["curve"].max(),
        "e_adp": em["adp"],
        "f_mean": fm["curve"].mean(),
        "f_max": fm["curve"].max(),
        "f_adp": fm["adp"],
        "f_weighted": w.get_results()["wfm"],
    }


if __name__ == "__main__":
    main()
