"""The settings of a data module, checked before any folder is opened."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.data.datamodule import COSDataModule

MIN_IMAGE_SIZE = 32


def setting_problems(data: COSDataModule) -> list[str]:
    """Every setting that cannot be meant so, one line each."""
    problems = []
    if data.image_size < MIN_IMAGE_SIZE:
        problems.append(f"data.image_size={data.image_size}: must be {MIN_IMAGE_SIZE} or more")
    for key in ("batch_size", "eval_batch_size"):
        if getattr(data, key) < 1:
            problems.append(f"data.{key}={getattr(data, key)}: must be 1 or more")
    if data.num_workers < 0:
        problems.append(f"data.num_workers={data.num_workers}: must be 0 or more")
    if not (0 <= data.val_fraction < 1 and 0 <= data.test_fraction < 1 and data.val_fraction + data.test_fraction < 1):
        problems.append(f"data.val_fraction={data.val_fraction}, data.test_fraction={data.test_fraction}: not negative, sum below 1")
    if data.cache_gb <= 0:
        problems.append(f"data.cache_gb={data.cache_gb}: must be above 0; data.cache=false works without")
    for key in ("train_sets", "test_sets"):
        names = [str(name) for name in getattr(data, key) or []]
        problems += [f"data.{key}: {name} stands there twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if data.selection not in ("holdout", "field"):
        problems.append(f"data.selection={data.selection}: must be holdout or field")
    return problems + split_problems(data)


def split_problems(data: COSDataModule) -> list[str]:
    """Settings that do not say how the training images are parted."""
    return _fold_problems(data) + _group_problems(data.groups)


def _fold_problems(data: COSDataModule) -> list[str]:
    if data.folds is None:
        return []
    problems = []
    if data.folds < 2:
        problems.append(f"data.folds={data.folds}: must be 2 or more, or null")
    elif not 0 <= data.fold < data.folds:
        problems.append(f"data.fold={data.fold}: must be 0 to {data.folds - 1} with data.folds={data.folds}")
    if data.test_fraction > 0:
        problems.append(f"data.folds={data.folds} with data.test_fraction={data.test_fraction}: folds hold out no test part; set it to 0")
    if data.selection == "field":
        problems.append(f"data.folds={data.folds} validates on a fold, data.selection=field on a test set; choose one")
    return problems


def _group_problems(groups: str | None) -> list[str]:
    if groups is None:
        return []
    try:
        count = re.compile(groups).groups
    except re.error as error:
        return [f"data.groups={groups}: is no regular expression ({error})"]
    return [] if count else [f"data.groups={groups}: needs a group in parentheses that names what stays together, e.g. '(video\\d+)_'"]


def part_problems(data: COSDataModule, train: int, val: int, test: int) -> list[str]:
    """What is wrong with the numbers of images that a hold-out leaves on its sides."""
    problems, total = [], train + val + test
    for count, kind, fraction in ((val, "val", data.val_fraction), (test, "test", data.test_fraction)):
        wanted = fraction > 0 and data.folds is None and (kind == "test" or data.selection == "holdout")
        if wanted and count == 0:
            problems.append(f"data.{kind}_fraction={fraction} holds out none of {total} training images; raise it, or set it to 0")
    if data.folds is not None and val == 0:
        problems.append(f"data.folds={data.folds}: more folds than the {total} training images have groups; lower it")
    if train == 0:
        problems.append("no training image is left after the hold-out; lower data.val_fraction or data.test_fraction")
    return problems
