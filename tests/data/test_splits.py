"""What is held out: pinned, by group, by fold, by fraction."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from src.data.datamodule import COSDataModule
from src.data.published_sets import CLINIC_LAST_FRAMES, clinic_sequence
from src.data.splits import fold_names
from src.utils.errors import UserError
from tests.fixtures.folders import write_root, write_set


def parts(data: COSDataModule) -> list[list[str]]:
    data.setup("fit")
    assert data._parts is not None
    return [list(part.names) for part in data._parts]


def module(root: Path, **options: Any) -> COSDataModule:
    defaults: dict[str, Any] = {"train_sets": ["MINE"], "test_sets": [], "num_workers": 0}
    return COSDataModule(root, **{**defaults, **options})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:CAMO-")
def test_the_holdout_of_camo_is_pinned(shared_data: Path) -> None:
    """Numbers were published with these 83 images held out."""
    train, val, _ = parts(module(shared_data, train_sets=["CAMO"]))
    assert (len(train), len(val)) == (912, 83)
    assert hashlib.sha256("\n".join(val).encode()).hexdigest().startswith("a7a06664a0baa945")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Kvasir")
def test_kvasir_is_parted_80_10_10(shared_data: Path) -> None:
    train, val, test = parts(module(shared_data, train_sets=["Kvasir-SEG"], val_fraction=0.1, test_fraction=0.1))
    assert len(train) + len(val) + len(test) == 1000
    assert (len(val), len(test)) == (89, 104)  # a hash acts like a random draw: 100 ± 9.5
    assert not {*train} & {*val} | {*train} & {*test} | {*val} & {*test}


@pytest.mark.filterwarnings("ignore:CVC-ClinicDB")
@pytest.mark.parametrize("options", [{"val_fraction": 0.2, "test_fraction": 0.2}, {"folds": 5, "fold": 2}])
def test_frames_of_one_sequence_stay_together(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = tmp_path / "TrainDataset" / "CVC-ClinicDB"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    frames = [frame for last in CLINIC_LAST_FRAMES for frame in range(last - 3, last + 1)]
    for frame in frames:
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "images" / f"{frame}.png")
        Image.fromarray(np.eye(4, dtype=np.uint8) * 255).save(folder / "masks" / f"{frame}.png")
    sides = [
        {clinic_sequence(name) for name in part}
        for part in parts(module(tmp_path, train_sets=["CVC-ClinicDB"], **options))
    ]
    assert sum(len(side) for side in sides) == 29  # no group is on both sides
    assert sides[0]
    assert sides[1]


def test_groups_of_an_own_set(tmp_path: Path) -> None:
    write_set(
        tmp_path / "TrainDataset" / "MINE",
        [f"video{video}_{frame}" for video in range(12) for frame in range(3)] + ["still"],
    )
    whole, free = (parts(module(tmp_path, groups=groups, val_fraction=0.3)) for groups in (r"(video\d+)_", None))
    counts = Counter(name.split("_")[0] for name in whole[1])
    assert counts
    assert set(counts.values()) <= {3, 1}
    assert "still" in whole[0] + whole[1]
    assert any(
        count not in (0, 3)
        for name, count in Counter(name.split("_")[0] for name in free[1]).items()
        if name != "still"
    )


@given(st.lists(st.text(max_size=5), max_size=40), st.integers(2, 6))
def test_folds_partition_and_balance(names: list[str], folds: int) -> None:
    splits = [fold_names(names, fold, folds) for fold in range(folds)]
    assert sorted(index for split in splits for index in split.val) == list(range(len(names)))
    for split in splits:
        assert sorted(split.train + split.val) == list(range(len(names)))
        assert not {names[i] for i in split.train} & {names[i] for i in split.val}
    distinct = [len({names[i] for i in split.val}) for split in splits]
    assert max(distinct) - min(distinct) <= 1


def test_folds_of_a_module(tmp_path: Path) -> None:
    write_root(tmp_path, train=10)
    held_out = [parts(module(tmp_path, folds=3, fold=fold, val_fraction=0.5)) for fold in range(3)]
    assert sorted(name for _, val, _ in held_out for name in val) == [f"train_{i:03d}" for i in range(10)]
    assert sorted(len(val) for _, val, _ in held_out) == [3, 3, 4]
    data = module(tmp_path, folds=3, fold=1)
    assert data.describe()["selected_on"] == "fold 1 (of 0 to 2) of the training images"
    one_out = parts(module(tmp_path, folds=10, fold=9))
    assert (len(one_out[0]), len(one_out[1])) == (9, 1)


def test_wrong_settings_do_not_hide_wrong_sets(tmp_path: Path) -> None:
    write_root(tmp_path)
    (tmp_path / "TrainDataset" / "MINE" / "GT" / "train_001.png").unlink()
    with pytest.raises(UserError) as caught:
        module(tmp_path, groups="x", folds=1).setup("fit")
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "data.folds=1: must be 2 or more"),
        ({"folds": 3, "fold": 3}, "data.fold=3: must be 0 to 2"),
        ({"folds": 99}, "more folds than the 30 training images"),
        ({"folds": 3, "test_fraction": 0.1}, "folds hold out no test part"),
        ({"folds": 3, "selection": "field", "test_sets": ["MINE"]}, "choose one"),
        ({"groups": "(video"}, "is no regular expression"),
        ({"groups": "video"}, "needs a group in parentheses"),
    ],
)
def test_settings_are_checked(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write_root(tmp_path)
    if options.get("folds") == 99:
        options["fold"] = 98
    with pytest.raises(UserError) as caught:
        module(tmp_path, **options).setup("fit")
    assert message in str(caught.value)
