"""The report of maps in folders (`src.score`): its checked settings, and the pictures of its galleries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from src.data.maps import read_map
from src.data.readers import read_image, read_mask, read_truth
from src.metrics import MEASURES, STANDARD
from src.metrics.checks import check_extra, check_protocol
from src.report.figures.figure import plain
from src.report.figures.gallery import Panel, error_map
from src.report.files import check_new_folder
from src.report.write import ReportOptions
from src.scoring.folders import resize_map
from src.scoring.pairing import MapFiles
from src.scoring.spec import KINDS, Place, Spec, folder_spec, read_spec
from src.utils.errors import Problems, UserError


def checked_spec(cfg: DictConfig, options: ReportOptions, problems: Problems) -> Spec:
    """Return the spec, empty if it cannot be read; add everything wrong with it and the settings to ``problems``."""
    spec, measures = Spec({}, {}), list(STANDARD)
    with problems.catch():
        spec = _spec(cfg)
    with problems.catch():
        check_protocol(cfg.metrics.protocol)
    with problems.catch():
        measures += check_extra(cfg.metrics.extra)
    looking = [name for name in measures if MEASURES[name].needs_image]
    blind = [name for name, folders in spec.sets.items() if folders.images is None]
    with problems.catch():
        if looking and blind:
            raise UserError(
                f"metrics.extra: {', '.join(looking)} looks at the images of {', '.join(blind)}: add images=FOLDER"
            )
    with problems.catch():
        options.check(measures, list(spec.sets), list(spec.methods))
    with problems.catch():
        check_new_folder(Path(cfg.paths.output_dir))
    return spec


def _spec(cfg: DictConfig) -> Spec:
    if cfg.spec is not None:
        if cfg.preds is not None or cfg.gts is not None:
            raise UserError("give either spec=FILE.yaml, or preds=FOLDER and gts=FOLDER")
        return read_spec(Path(cfg.spec))
    if cfg.preds is None or cfg.gts is None:
        raise UserError("nothing to score: add preds=FOLDER gts=FOLDER, or spec=FILE.yaml")
    places, problems = dict[str, Place | None](), Problems()
    for key in KINDS:
        places[key] = None if cfg[key] is None else Place.of(Path(cfg[key]), cfg[f"{key}_pattern"])
        with problems.catch():
            if (place := places[key]) is not None:
                place.check(f"{key}_pattern")
    problems.raise_all()
    return folder_spec(places, cfg.method, cfg.set)


def map_panels(
    jobs: Mapping[tuple[str, str], Sequence[MapFiles]],
    dataset: str,
    image: str,
    protocol: str,
    ignore: int | None = None,
) -> list[Panel]:
    """Return the gallery's row of one image: the image (if known), the truth, and each method's errors.

    With a single method its map is shown too.
    """
    group = {
        method: next(f for f in files if f.image == image) for (name, method), files in jobs.items() if name == dataset
    }
    truth, known = read_truth(next(iter(group.values())).gt, ignore=ignore)
    source = next(iter(group.values())).source
    panels: list[Panel] = [] if source is None else [("image", read_image(source))]
    panels.append(("truth", truth.astype(np.float64)))
    for method, files in group.items():
        pred = read_map(files.pred)
        pred = resize_map(pred, truth.shape) if pred.shape != truth.shape else pred
        if len(group) == 1:
            panels.append((plain(method), pred))
        view = None if files.fov is None else read_mask(files.fov)
        valid = known if view is None else view if known is None else view & known
        panels.append(("errors" if len(group) == 1 else plain(method), error_map(pred, truth, protocol, valid)))
    return panels
