"""The settings of a data module, checked before any folder is opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.data.layouts import OwnNames, display_name
from src.data.names import stem_pattern
from src.data.prompt_recipe import PromptRecipe
from src.utils.errors import Problems

MIN_IMAGE_SIZE = 32


@dataclass(frozen=True)
class DataSettings:
    """What is read, how it is split and how it is loaded.

    Attributes:
        root: folder that holds `TrainDataset` and `TestDataset`.
        train_sets: names of the sets that are joined to train on.
        test_sets: names of the sets to test on, each with a loader of its own. Published sets that are absent are
            skipped with a warning unless all are. Empty: no test.
        images: what the images of your own sets are called, such as `%s_image.jpg`; `%s` is the name that images and
            masks share. None: by that name alone.
        masks: what their masks are called, such as `%s_segmentation.png`; they may then be in the images' folder.
        image_size: side of the square that the network sees, in pixels.
        batch_size: images per training step and process.
        eval_batch_size: images per validation and test step and process.
        num_workers: loading processes per loader; 0 loads in the main process.
        val_fraction: part of the training images held out to validate, by a hash of their names (`splits.split_names`).
        test_fraction: part held out to test; it becomes one more test set, named after the training set ("held-out" if
            a test set has that name).
        folds: number of folds of a cross-validation, in place of `val_fraction` (`splits.fold_names`); None: no
            cross-validation.
        fold: the fold that validates, from 0.
        groups: regular expression whose group 1 names what stays on one side of a split; published sets have their own
            rule (`published_sets.group_of`).
        selection: what the model is chosen on. `holdout`: the part held out. `field`: the first test set, as the
            literature does, and all training images train; reports say so.
        augmentation: makes the training transform for a size in pixels: a `transforms.Recipe`, which may ask for
            several sizes.
        prompts: prompts that training images get; None: the network is trained without prompts.
        fast_decode: decode a JPEG at a half, a quarter or an eighth of its size where that is still no smaller than
            needed. Changes pixels in training and evaluation; reports say so.
        exif: turn the images of the test sets as their EXIF orientation says. False: use them as stored, as the authors
            of RUN test.
        ignore_value: masks are maps of labels, in which pixels of this value (255, say) are neither object nor
            background; they count in no loss and no measure. None: masks have object and background alone.
        cache: keep decoded training images in memory-mapped files (`cache.Cached`), with the same bits as without. One
            process writes them before the first epoch.
        cache_gb: largest total size of these files, in GB.
        pin_memory: see `torch.utils.data.DataLoader`.
        persistent_workers: keep the training loader's processes between epochs.
    """

    root: Path
    train_sets: tuple[str, ...]
    test_sets: tuple[str, ...]
    images: str | None
    masks: str | None
    image_size: int
    batch_size: int
    eval_batch_size: int
    num_workers: int
    val_fraction: float
    test_fraction: float
    folds: int | None
    fold: int
    groups: str | None
    selection: str
    augmentation: Callable[[int], Any]
    prompts: PromptRecipe | None
    fast_decode: bool
    exif: bool
    ignore_value: int | None
    cache: bool
    cache_gb: float
    pin_memory: bool
    persistent_workers: bool

    @property
    def own_names(self) -> OwnNames:
        """Return the file name patterns of sets that are not published."""
        return OwnNames(self.images, self.masks)

    @property
    def trained_on(self) -> str:
        """Return the names of the training sets, joined."""
        return "+".join(display_name(self.root, name) for name in self.train_sets)

    @property
    def train_sizes(self) -> tuple[int, ...]:
        """Sides to train at, in pixels; several with a multi-scale recipe."""
        sizes = getattr(self.augmentation, "sizes", None)
        return (self.image_size,) if sizes is None else sizes(self.image_size)

    @property
    def cached_size(self) -> int | None:
        """Side at which training images are cached, in pixels; None: at their own size.

        Steps before the resize and several training sizes need the file's pixels; otherwise the resized image is
        enough.
        """
        resizes_first = getattr(self.augmentation, "before", None) == [] and len(self.train_sizes) == 1
        return self.train_sizes[0] if resizes_first else None

    def shrink_to(self, size: int) -> int | None:
        """Return the smallest side that a JPEG may be decoded to for an input of `size` px; None: decode all of it."""
        return size if self.fast_decode else None

    def selected_on(self, test_names: Sequence[str]) -> str:
        """Return in words what the best checkpoint is chosen on, given the names of the test sets that exist."""
        if self.selection == "field":
            return f"test set {next(iter(test_names), '?')}, as the literature does"
        if self.folds is not None:
            return f"fold {self.fold} (of 0 to {self.folds - 1}) of the training images"
        return (
            f"held-out {self.val_fraction:.0%} of the training images"
            if self.val_fraction
            else "nothing, the last epoch counts"
        )

    def problems(self) -> list[str]:
        """Return one line per invalid setting."""
        of_prompts = self.prompts.problems() if self.prompts is not None else []
        return [*self._size_problems(), *self._set_problems(), *self.split_problems(), *of_prompts]

    def split_problems(self) -> list[str]:
        """Return one line per invalid setting of how the training images are split."""
        return self._fold_problems() + _group_problems(self.groups)

    def part_problems(self, train: int, val: int, test: int) -> list[str]:
        """Return what is wrong with the numbers of images in the parts of a split."""
        problems, total = [], train + val + test
        for count, kind, fraction in ((val, "val", self.val_fraction), (test, "test", self.test_fraction)):
            wanted = fraction > 0 and self.folds is None and (kind == "test" or self.selection == "holdout")
            if wanted and count == 0:
                problems.append(
                    f"data.{kind}_fraction={fraction} holds out none of {total} training images; "
                    "raise it, or set it to 0"
                )
        if self.folds is not None and val == 0:
            problems.append(
                f"data.folds={self.folds}: more folds than the {total} training images have groups; lower it"
            )
        if train == 0:
            problems.append(
                "no training image is left after the hold-out; lower data.val_fraction or data.test_fraction"
            )
        return problems

    def _size_problems(self) -> list[str]:
        least = {"image_size": MIN_IMAGE_SIZE, "batch_size": 1, "eval_batch_size": 1, "num_workers": 0}
        values = {key: getattr(self, key) for key in least}
        problems = [
            f"data.{key}={value}: must be {least[key]} or more" for key, value in values.items() if value < least[key]
        ]
        if not (
            0 <= self.val_fraction < 1 and 0 <= self.test_fraction < 1 and self.val_fraction + self.test_fraction < 1
        ):
            problems.append(
                f"data.val_fraction={self.val_fraction}, data.test_fraction={self.test_fraction}: "
                "not negative, sum below 1"
            )
        if self.cache_gb <= 0:
            problems.append(f"data.cache_gb={self.cache_gb}: must be above 0; data.cache=false works without")
        return problems

    def _set_problems(self) -> list[str]:
        problems = Problems()
        for key, names in (("train_sets", self.train_sets), ("test_sets", self.test_sets)):
            called: dict[str, list[str]] = {}
            for name in names:
                called.setdefault(display_name(self.root, name).casefold(), []).append(name)
            twice = [group for group in called.values() if len(group) > 1]
            problems += [f"data.{key}: {' and '.join(dict.fromkeys(group))} {_is_twice(group)}" for group in twice]
        for key in ("images", "masks"):
            with problems.catch():
                if (pattern := getattr(self, key)) is not None:
                    stem_pattern(f"data.{key}", pattern)
        if self.selection not in ("holdout", "field"):
            problems.append(f"data.selection={self.selection}: must be holdout or field")
        return problems

    def _fold_problems(self) -> list[str]:
        if self.folds is None:
            return []
        problems, given = [], f"data.folds={self.folds}"
        if self.folds < 2:
            problems.append(f"{given}: must be 2 or more, or null")
        elif not 0 <= self.fold < self.folds:
            problems.append(f"data.fold={self.fold}: must be 0 to {self.folds - 1} with {given}")
        if self.test_fraction > 0:
            problems.append(
                f"{given} with data.test_fraction={self.test_fraction}: folds hold out no test part; set it to 0"
            )
        if self.selection == "field":
            problems.append(f"{given} validates on a fold, data.selection=field on a test set; choose one")
        return problems


def _is_twice(names: Sequence[str]) -> str:
    return "is listed twice" if len(set(names)) == 1 else "are one set by name; results could not be told apart"


def _group_problems(groups: str | None) -> list[str]:
    if groups is None:
        return []
    try:
        count = re.compile(groups).groups
    except re.error as error:
        return [f"data.groups={groups}: is no regular expression ({error})"]
    return (
        []
        if count
        else [f"data.groups={groups}: needs a group in parentheses that names what stays together, e.g. '(video\\d+)_'"]
    )
