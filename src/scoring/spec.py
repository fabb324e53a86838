"""What is scored: the folders of maps and masks that a command or a YAML file names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from src.data.layouts import MASK_FOLDERS
from src.data.names import NAME, stem_pattern
from src.utils.errors import Problems, UserError

KINDS = ("preds", "gts", "images", "fovs")


@dataclass(frozen=True)
class Place:
    """A folder, and the pattern of its files' names, such as `%s_sal.png`.

    Without a pattern (None) the stem itself is the name that map and mask share.
    """

    folder: Path
    pattern: str | None = None

    @classmethod
    def of(cls, path: Path, pattern: str | None = None) -> Place:
        """Return the place that a path names; its last part may be a pattern.

        Args:
            path: a folder, or a folder and a pattern.
            pattern: the pattern, if it is given separately.
        """
        return cls(path.parent, path.name) if pattern is None and NAME in path.name else cls(path, pattern)

    def check(self, key: str) -> None:
        """Raise a UserError if the pattern is not valid; ``key`` is its setting, for the message."""
        if self.pattern is not None:
            stem_pattern(key, self.pattern)

    def __str__(self) -> str:
        return str(self.folder if self.pattern is None else self.folder / self.pattern)


@dataclass(frozen=True)
class ScoredSet:
    """A data set: its masks and, optionally, its images and fields of view.

    The gallery and `context_weighted` use the images.
    """

    gts: Place
    images: Place | None = None
    fovs: Place | None = None


@dataclass(frozen=True)
class Spec:
    """What is scored: data sets by name, and for each method the folders of its maps by data set."""

    sets: dict[str, ScoredSet]
    methods: dict[str, dict[str, Place]]


def folder_spec(places: Mapping[str, Place | None], method: str | None, dataset: str | None) -> Spec:
    """Return the spec of one folder of maps.

    Args:
        places: one per entry of `KINDS`; `preds` and `gts` are not None.
        method: its name; None: from the folder of maps (`.../SINet/CAMO` is SINet).
        dataset: its name; None: from the folder of masks (`.../CAMO/GT` is CAMO).
    """
    preds, gts = places["preds"], places["gts"]
    assert preds is not None
    assert gts is not None
    dataset = dataset or _folder_name(gts.folder, MASK_FOLDERS)
    method = method or _folder_name(preds.folder, (dataset.lower(),))
    return Spec({dataset: ScoredSet(gts, places["images"], places["fovs"])}, {method: {dataset: preds}})


def read_spec(path: Path) -> Spec:
    """Read a YAML file of several methods and sets; its paths are relative to its own folder.

    ::

        sets:
          CAMO: data/TestDataset/CAMO/GT                       # the masks, or
          DRIVE: {gts: FOLDER, images: FOLDER, fovs: FOLDER}   # images for the gallery, fields of view for the measures
        methods:
          SINet: maps/SINet/{set}                              # {set} stands for the data set's name
          FEDER: {CAMO: elsewhere/feder_camo}                  # a method need not have every set
          UGTR: "maps/UGTR/{set}/%s_sal.png"                 # %s stands for the name that mask and map share

    Raises:
        UserError: not readable, or not of this form; all problems at once.
    """
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"spec: {path} cannot be read ({error})") from error
    if (
        not isinstance(loaded, dict)
        or loaded.keys() != {"sets", "methods"}
        or not all(isinstance(v, dict) and v for v in loaded.values())
    ):
        raise UserError(
            f"spec: {path} must hold two mappings, "
            "`sets` (NAME: FOLDER of masks) and `methods` (NAME: FOLDER with {set})"
        )
    base, problems = path.parent, Problems()
    sets = {str(name): _scored_set(base, str(name), entry, problems) for name, entry in loaded["sets"].items()}
    methods = {
        str(name): _method_folders(base, str(name), entry, list(sets), problems)
        for name, entry in loaded["methods"].items()
    }
    problems.raise_all(f"spec: {path} has problems:")
    return Spec(sets, methods)


def _scored_set(base: Path, name: str, entry: Any, problems: list[str]) -> ScoredSet:
    if _is_path(entry):
        return ScoredSet(_place(base, entry, problems))
    if not isinstance(entry, dict) or "gts" not in entry or not entry.keys() <= {"gts", "images", "fovs"}:
        problems.append(f"sets.{name}: expected a folder of masks, or {{gts: FOLDER, images: FOLDER, fovs: FOLDER}}")
        return ScoredSet(Place(base))
    return ScoredSet(**{key: _place(base, folder, problems) for key, folder in entry.items()})


def _method_folders(base: Path, name: str, entry: Any, sets: list[str], problems: list[str]) -> dict[str, Place]:
    if _is_path(entry):
        if "{set}" not in str(entry) and len(sets) > 1:
            problems.append(f"methods.{name}: {entry} lacks {{set}}, and there are {len(sets)} sets")
        return {dataset: _place(base, str(entry).replace("{set}", dataset), problems) for dataset in sets}
    if not isinstance(entry, dict) or not entry:
        problems.append(f"methods.{name}: expected a folder with {{set}}, or SET: FOLDER for each set")
        return {}
    problems += [
        f"methods.{name}.{key}: no such set; there are {', '.join(sets)}" for key in entry if str(key) not in sets
    ]
    return {str(key): _place(base, folder, problems) for key, folder in entry.items() if str(key) in sets}


def _is_path(entry: Any) -> bool:
    """Return whether a YAML value is a path; a folder may be called 2024."""
    return isinstance(entry, (str, int, float)) and not isinstance(entry, bool)


def _place(base: Path, entry: Any, problems: list[str]) -> Place:
    place = Place.of(base / Path(str(entry)).expanduser())
    try:
        place.check("spec")
    except UserError as error:
        problems.append(str(error))
    return place


def _folder_name(folder: Path, generic: tuple[str, ...]) -> str:
    parts = folder.absolute()
    return parts.parent.name if parts.name.lower() in generic else parts.name
