"""Scores maps in worker threads while the network or the disk goes on; no number depends on how many workers there are."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from src.metrics import MapScores, score
from src.metrics.functional import to_8bit
from src.utils.errors import UserError

SPECK = 0.01
"""An 8-connected part of a mask counts as an object if it holds at least this share of the mask's object pixels."""

DESCRIPTION = ("image", "object_share", "objects")
"""What a row says of its image, beside the measures."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class ImageScores:
    """One image: share of object pixels in [0, 1], number of objects (see `SPECK`), and what its map scored.

    `resized`: the map had another size than the mask. `in_view`: only a field of view was judged, the share counts its pixels.
    """

    image: str
    object_share: float
    objects: int
    scores: MapScores
    resized: bool = False
    in_view: bool = False


@dataclass
class SetScores:
    """One method on one data set: the scalars of every image in `rows`, and the sums of the curves.

    `map` names a stage (``M_0`` …) where a network's stages are told apart; `resized` and `in_view` count images, see `ImageScores`.
    """

    dataset: str
    method: str
    map: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    resized: int = 0
    in_view: int = 0
    curve_sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def add(self, image: ImageScores) -> None:
        """Images must come in the same order in every run: floating-point sums depend on it."""
        described = dict(zip(DESCRIPTION, (image.image, image.object_share, image.objects), strict=True))
        self.rows.append(described | image.scores.scalars)
        for name, curve in image.scores.curves.items():
            self.curve_sums[name] = self.curve_sums.get(name, 0.0) + curve
        self.resized += image.resized
        self.in_view += image.in_view

    @property
    def label(self) -> str:
        """The stage where stages are told apart, else the method."""
        return self.map or self.method

    @property
    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Mean curves over the images, (256,) each."""
        return {name: total / len(self.rows) for name, total in self.curve_sums.items()}

    @property
    def scalars(self) -> dict[str, float]:
        """The data set's numbers: means over images; `*_max` is the maximum of the mean curve, as in the field's toolbox."""
        curves, found = self.curves, {}
        for name in self.measures:
            curve = curves.get(f"{name.removesuffix('_max')}_curve") if name.endswith("_max") else None
            found[name] = float(self.values(name).mean() if curve is None else curve.max())
        return found

    @property
    def measures(self) -> list[str]:
        """Names of the scalars, in the order of `src.metrics.score`."""
        return [name for name in self.rows[0] if name not in DESCRIPTION]

    def values(self, name: str) -> NDArray[np.float64]:
        """One value an image."""
        return np.array([row[name] for row in self.rows])


class WorkerPool:
    """Runs functions in `workers` threads (None: one a core; 0: in this one, at once), with a bounded queue.

    Threads, since decoding files and the loops over pixels run without the interpreter's lock, and nothing has to be copied or forked.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 0:
            raise UserError(f"workers={workers}: must be 0 (no threads of their own) or more")
        self.workers = available_cores() if workers is None else workers
        self._executor = ThreadPoolExecutor(self.workers) if self.workers else None
        self._waiting: deque[Future[Any]] = deque()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Start a call; waits while four calls a worker are unfinished, so that maps do not pile up in memory."""
        if self._executor is None:
            done: Future[Result] = Future()
            done.set_result(function(*arguments))
            return done
        while len(self._waiting) >= 4 * self.workers:
            self._waiting.popleft().exception()
        future = self._executor.submit(function, *arguments)
        self._waiting.append(future)
        return future

    def map(self, function: Callable[..., Result], jobs: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        """Results in the order of the jobs, as soon as they are there."""
        futures: deque[Future[Result]] = deque()
        for job in jobs:
            futures.append(self.submit(function, *job))
            while futures and futures[0].done():
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()


class MapScorer:
    """Takes the maps of a test as the network makes them and scores them in a pool.

    Args:
        maps_dir: where the last map of each image is written, ``<maps_dir>/<dataset>/<image>.png``, 8-bit at the mask's size; with the
            `field` protocol `src.score` finds the same numbers in these files, to the last digit. None: nowhere.
    """

    def __init__(self, protocol: str, extra: Sequence[str], pool: WorkerPool, maps_dir: Path | None = None) -> None:
        self.protocol, self.extra = protocol, tuple(extra)
        self.pool, self.maps_dir = pool, maps_dir
        self._pending: deque[tuple[str, Future[dict[str, ImageScores]]]] = deque()
        self._results: dict[str, dict[str, SetScores]] = {}

    def add(self, dataset: str, image: str, maps: Mapping[str, Tensor], target: Tensor, valid: Tensor | None = None) -> None:
        """Score the maps (h, w) of one image, by stage, the final one last, against its bool mask (h, w)."""
        path = None
        if self.maps_dir is not None:
            path = self.maps_dir / dataset / f"{image}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: map_.float().cpu().numpy() for name, map_ in maps.items()}
        region = None if valid is None else valid.cpu().numpy()
        job = self.pool.submit(score_maps, image, arrays, target.cpu().numpy(), region, self.protocol, self.extra, path)
        self._pending.append((dataset, job))
        while self._pending and self._pending[0][1].done():
            self._collect()

    def results(self) -> dict[str, dict[str, SetScores]]:
        """Data set → stage → its scores; waits for what is unfinished."""
        while self._pending:
            self._collect()
        return self._results

    def _collect(self) -> None:
        dataset, job = self._pending.popleft()
        stages = self._results.setdefault(dataset, {})
        for name, image in job.result().items():
            stages.setdefault(name, SetScores(dataset, method="", map=name)).add(image)


def score_maps(
    image: str,
    maps: Mapping[str, NDArray[Any]],
    target: NDArray[np.bool_],
    valid: NDArray[np.bool_] | None,
    protocol: str,
    extra: Sequence[str],
    path: Path | None = None,
    picture: NDArray[np.uint8] | None = None,
) -> dict[str, ImageScores]:
    """Score several maps of one image, and write the last one to ``path`` if that is given.

    ``picture``: the image itself, (H, W, 3) uint8, for the measures that look at it.
    """
    share, objects = float((target if valid is None else target[valid]).mean()), count_objects(target if valid is None else target & valid)
    try:
        found = {name: score(map_, target, protocol, valid, extra, picture) for name, map_ in maps.items()}
    except UserError as error:
        raise UserError(f"{image}: {error}") from error
    scores = {name: ImageScores(image, share, objects, one, in_view=valid is not None) for name, one in found.items()}
    if path is not None:
        Image.fromarray(to_8bit(list(maps.values())[-1])).save(path)
    return scores


def count_objects(mask: NDArray[np.bool_]) -> int:
    """Number of 8-connected parts that hold at least `SPECK` of the mask's object pixels."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return int(np.count_nonzero(areas >= SPECK * areas.sum()))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
