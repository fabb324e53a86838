"""Pairing, layouts and the hold-out."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.layouts import SetFolders, locate_set
from src.data.published_sets import SETS, count_note
from src.data.sources import Concat, FolderPairs, Source, Subset
from src.data.splits import split_names
from src.data.synthetic import SyntheticCamouflage
from tests.fixtures.folders import write_pair, write_set


def test_pairs_go_by_stem_not_by_order(tmp_path: Path) -> None:
    for stem, size in (("b", (40, 50)), ("a", (60, 70)), ("c", (33, 34))):
        write_pair(tmp_path, stem, size)
    # Shifts the sort order of the images against the masks.
    (tmp_path / "Imgs" / "a.jpg").rename(tmp_path / "Imgs" / "zz.jpg")
    (tmp_path / "Imgs" / "._b.jpg").write_bytes(b"macOS")
    (tmp_path / "Imgs" / "Thumbs.db").write_bytes(b"Windows")
    pairs = FolderPairs(SetFolders(tmp_path / "Imgs", tmp_path / "GT"), "X")
    assert pairs.names == ["b", "c"]
    assert [sample.image.shape[:2] for sample in (pairs[0], pairs[1])] == [(40, 50), (33, 34)]
    assert all(
        pairs[i].mask.shape == pairs[i].image.shape[:2] and pairs[i].name == name for i, name in enumerate(pairs.names)
    )


def test_concat_and_subset_keep_names_and_samples_together(tmp_path: Path) -> None:
    write_set(tmp_path / "A", ["a1", "a2"])
    write_set(tmp_path / "B", ["b1"])
    whole = Concat([FolderPairs(SetFolders(tmp_path / s / "Imgs", tmp_path / s / "GT"), s) for s in "AB"])
    assert list(whole.names) == ["a1", "a2", "b1"] == [whole[i].name for i in range(3)]
    part = Subset(whole, [2, 0])
    assert list(part.names) == ["b1", "a1"] == [part[i].name for i in range(2)]
    for source in (whole, part, whole.sources[0], SyntheticCamouflage(2, 32)):
        assert isinstance(source, Source)
        with pytest.raises(IndexError):
            source[len(source)]


@pytest.mark.parametrize(("images", "masks"), [("Imgs", "GT"), ("Image", "Mask"), ("images", "masks")])
def test_folder_names_of_public_archives(tmp_path: Path, images: str, masks: str) -> None:
    for name in (images, masks):
        (tmp_path / "TestDataset" / "X" / name).mkdir(parents=True)
    found = locate_set(tmp_path, "test", "X")
    assert found is not None
    assert (found.images.name, found.masks.name) == (images, masks)


def test_flat_archive_is_told_apart_by_names(tmp_path: Path) -> None:
    flat = tmp_path / "TrainDataset"
    write_set(flat, ["camourflage_00001", "COD10K-CAM-1-Aquatic-1-BatFish-2", "COD10K-CAM-2-Terrestrial-3-Cat-4"])
    (flat / "Edge").mkdir()
    counts = {}
    for name in ("CAMO", "COD10K", "."):
        found = locate_set(tmp_path, "train", name)
        assert found is not None
        counts[name] = len(FolderPairs(found, name))
    assert counts == {"CAMO": 1, "COD10K": 2, ".": 3}
    assert locate_set(tmp_path, "train", "UNKNOWN") is None
    assert locate_set(tmp_path, "test", "CAMO") is None


def test_counts_of_the_task() -> None:
    assert sum(SETS[name].train or 0 for name in ("CAMO", "COD10K")) == 4040
    assert [SETS[name].test for name in ("CHAMELEON", "CAMO", "COD10K", "NC4K")] == [76, 250, 2026, 4121]
    assert count_note("CAMO", "test", 248) == "CAMO-Test, 248 of 250 images"
    assert count_note("CAMO", "test", 250) is None
    assert count_note("MINE", "train", 3) is None


def test_holdout_is_pinned() -> None:
    """The split of these names must never change: published numbers depend on it."""
    stems = [f"camourflage_{i:05d}" for i in range(1, 61)]
    split = split_names(stems, 0.1, 0.1)
    assert [stems[i][-5:] for i in split.val] == ["00031", "00053"]
    assert [stems[i][-5:] for i in split.test] == [
        "00004",
        "00009",
        "00033",
        "00036",
        "00038",
        "00042",
        "00045",
        "00051",
        "00056",
    ]


@pytest.mark.slow
@given(st.lists(st.text(max_size=12), max_size=60), st.floats(0, 0.6), st.floats(0, 0.39))
def test_holdout_partitions_and_ignores_the_other_files(names: list[str], val: float, test: float) -> None:
    split = split_names(names, val, test)
    assert sorted(split.train + split.val + split.test) == list(range(len(names)))
    sides = [{names[i] for i in part} for part in split]
    assert all(a.isdisjoint(b) for a, b in combinations(sides, 2))
    half = split_names(names[::2], val, test)
    assert {names[::2][i] for i in half.val} <= sides[1]


def test_real_camo_reads(shared_data: Path) -> None:
    found = locate_set(shared_data, "test", "CAMO")
    assert found is not None
    pairs = FolderPairs(found, "CAMO")
    assert len(pairs) == 248
    sample = pairs[0]
    assert sample.image.shape[:2] == sample.mask.shape
    assert 0.001 < np.mean([pairs[i].mask.mean() for i in range(5)]) < 0.8


def test_real_gif_masks_read(shared_data: Path) -> None:
    found = locate_set(shared_data, "test", "DRIVE")
    assert found is not None
    sample = FolderPairs(found, "DRIVE")[0]
    assert sample.image.shape == (584, 565, 3)
    assert 0.05 < sample.mask.mean() < 0.2  # vessels are about an eighth of the picture
