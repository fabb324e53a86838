"""The settings of `src.predict`, checked before anything is read or loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.inference.network import Options
from src.inference.outputs import STAGES
from src.inference.pictures import read_picture
from src.inference.results import BLUR, COLOURS, FORMATS, TYPES, Background, colour
from src.utils.errors import Problems, UserError

NOT_OF_VIDEOS = ("cutout", "json", STAGES)
"""Types that no video can hold; with ``frames=true`` they are files per frame."""


@dataclass(frozen=True)
class PredictSettings:
    """What is written, and what happens if a file exists already or is unreadable.

    Attributes:
        types: of `TYPES`, and `STAGES`.
        background: of the type ``on``; a picture is already decoded.
        threshold: None keeps soft edges.
        file_format: of pictures.
        frames: write a video's frames as files of their own.
        overwrite: whether existing outputs are replaced.
        only_missing: skip sources whose outputs all exist.
        skip_errors: continue after an unreadable file.
        options: how the network is run.
        batch_size: pictures per call of the network on a GPU.
    """

    types: tuple[str, ...]
    background: Background
    threshold: float | None
    file_format: str
    frames: bool
    overwrite: bool
    only_missing: bool
    skip_errors: bool
    options: Options
    batch_size: int

    @property
    def needs_image(self) -> bool:
        """Return whether an output shows the picture itself."""
        return bool({"cutout", "overlay", "on"} & set(self.types))


def predict_settings(cfg: Mapping[str, Any]) -> PredictSettings:
    """Read `conf/predict.yaml` as a plain mapping.

    Raises:
        UserError: all invalid settings at once.
    """
    problems = Problems()
    types = _types(cfg, problems)
    options = _options(cfg)
    problems += options.problems()
    for key, allowed in (("format", FORMATS), ("on_error", ("stop", "skip")), ("overwrite", (False, True, "missing"))):
        if cfg[key] not in allowed:
            words = ", ".join(str(one).lower() for one in allowed)
            problems.append(f"{key}={cfg[key]}: expected one of {words}")
    threshold = cfg["threshold"]
    if threshold is not None and not 0 <= threshold < 1:
        problems.append(f"threshold={threshold}: expected a probability from 0 to below 1, or null for soft edges")
    if cfg["batch_size"] < 1:
        problems.append(f"batch_size={cfg['batch_size']}: expected at least 1")
    background: Background = "white"
    with problems.catch():
        background = _background(cfg["background"])
    problems.raise_all("nothing was predicted:")
    overwrite = cfg["overwrite"]
    return PredictSettings(
        types=types,
        background=background,
        threshold=threshold,
        file_format=cfg["format"],
        frames=cfg["frames"],
        overwrite=overwrite is True,
        only_missing=overwrite == "missing",
        skip_errors=cfg["on_error"] == "skip",
        options=options,
        batch_size=cfg["batch_size"],
    )


def _types(cfg: Mapping[str, Any], problems: list[str]) -> tuple[str, ...]:
    given = [cfg["type"]] if isinstance(cfg["type"], str) else list(cfg["type"])
    unknown = [str(one) for one in given if one not in TYPES]
    if unknown or not given:
        problems.append(f"type={','.join(unknown) or '[]'}: expected one or more of {', '.join(TYPES)}")
    more = [kind for kind, key in (("overlay", "overlay"), (STAGES, "stages")) if cfg[key]]
    return tuple(dict.fromkeys([*given, *more]))


def _options(cfg: Mapping[str, Any]) -> Options:
    keys = ("device", "half", "rounds", "closing_step", "sharpness", "flip")
    return Options(**{key: cfg[key] for key in keys}, image_size=cfg["data"]["image_size"])


def _background(given: str | Sequence[int]) -> Background:
    """Return a background's name, a colour, or the picture of a file, which is decoded once for all."""
    if not isinstance(given, str):
        return [int(value) for value in colour(given)]
    if given == BLUR or given in COLOURS:
        return given
    if not Path(given).is_file():
        raise UserError(
            f"background={given}: expected {', '.join(COLOURS)}, {BLUR}, [red,green,blue] or a picture, "
            "and there is no such file"
        )
    return read_picture(given).image
