"""Score the maps of a test in worker threads; no number depends on how many workers there are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.metrics import score
from src.metrics.functional import stretch, to_8bit
from src.scoring.pool import WorkerPool
from src.scoring.scores import SPECK, ImageScores, SetScores
from src.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    MakeMaps = Callable[[], Mapping[str, Tensor]]


class MapScorer:
    """Takes the masks of a test as the network makes them, and enlarges and scores them in a pool.

    Args:
        protocol: `field`, `raw` or `released`.
        extra: names of slow measures.
        pool: the threads that score.
        maps_dir: where the last map of each image is written, ``<maps_dir>/<dataset>/<image>.png``, 8-bit at the mask's
            size; with the `field` protocol, `src.score` computes exactly the same numbers from these files. None: maps
            are not written.
    """

    def __init__(self, protocol: str, extra: Sequence[str], pool: WorkerPool, maps_dir: Path | None = None) -> None:
        self.protocol, self.extra = protocol, tuple(extra)
        self.pool, self.maps_dir = pool, maps_dir
        self._pending: deque[tuple[str, Future[dict[str, ImageScores]]]] = deque()
        self._results: dict[str, dict[str, SetScores]] = {}
        self._names: set[tuple[str, str]] = set()

    def add(self, dataset: str, image: str, maps: MakeMaps, target: Tensor, valid: Tensor | None = None) -> None:
        """Score the maps of one image against its bool mask (h, w).

        ``maps`` returns the maps (h, w) by stage, the final one last. It is called in a thread of the pool, so that the
        network does not wait while its masks are enlarged.
        """
        if (dataset, image) in self._names:
            raise UserError(
                f"{dataset}: two images are called {image}; rename one, or put the sets into folders of other names"
            )
        self._names.add((dataset, image))
        path = None
        if self.maps_dir is not None:
            path = self.maps_dir / dataset / f"{image}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
        self._pending.append((dataset, self.pool.submit(self._score, image, maps, target, valid, path)))
        while self._pending and self._pending[0][1].done():
            self._collect()

    def results(self) -> dict[str, dict[str, SetScores]]:
        """Wait for unfinished maps; return data set → stage → its scores."""
        while self._pending:
            self._collect()
        return self._results

    def _score(
        self, image: str, maps: MakeMaps, target: Tensor, valid: Tensor | None, path: Path | None
    ) -> dict[str, ImageScores]:
        arrays = {name: map_.float().cpu().numpy() for name, map_ in maps().items()}
        region = None if valid is None else valid.cpu().numpy()
        return score_maps(image, arrays, target.cpu().numpy(), region, self.protocol, self.extra, path)

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
    """Score several maps of one image, and write the last one to ``path`` if it is given.

    ``picture``: the image itself, (H, W, 3) uint8, for the measures that need it.
    """
    share, objects = (
        float((target if valid is None else target[valid]).mean()),
        count_objects(target if valid is None else target & valid),
    )
    try:
        found = {name: score(map_, target, protocol, valid, extra, picture) for name, map_ in maps.items()}
    except UserError as error:
        raise UserError(f"{image}: {error}") from error
    scores = {name: ImageScores(image, share, objects, one, in_view=valid is not None) for name, one in found.items()}
    if path is not None:
        final = list(maps.values())[-1]
        Image.fromarray(to_8bit(stretch(final) if protocol == "released" else final)).save(path)
    return scores


def count_objects(mask: NDArray[np.bool_]) -> int:
    """Count the 8-connected parts that hold at least `SPECK` of the mask's object pixels."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return int(np.count_nonzero(areas >= SPECK * areas.sum()))
