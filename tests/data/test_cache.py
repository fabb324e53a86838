"""The cache gives the same bits, survives concurrent writers and deletion, and stays within its bound."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning import seed_everything
from PIL import Image

from src.cli.command import CONF
from src.data.cache import Cached
from src.data.datamodule import COSDataModule
from src.data.layouts import locate_set
from src.data.sources import FolderPairs
from src.data.transforms import resize_image
from src.utils.cache_dir import keep
from tests.fixtures.folders import write_scenes

SPACE = 10**9


def pairs(root: Path, shrink_to: int | None = None) -> FolderPairs:
    folders = locate_set(root, "train", "MINE")
    assert folders is not None
    return FolderPairs(folders, "MINE", shrink_to)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "data" / "TrainDataset" / "MINE", 12, "n", size=(71, 93))
    write_scenes(tmp_path / "data" / "TestDataset" / "MINE", 3, "t", seed=1)
    return tmp_path / "data"


def files(cache: Path) -> list[Path]:
    return sorted((cache / "images").glob("*"))


def samples(source: Any) -> list[tuple[bytes, bytes, str]]:
    return [(s.image.tobytes(), s.mask.tobytes(), s.name) for s in (source[i] for i in range(len(source)))]


def test_stored_samples_are_the_decoded_ones(root: Path, cache: Path) -> None:
    source = pairs(root)
    cached = Cached(source, None)
    cached.build(SPACE)
    assert cached._opened() is not None
    assert samples(cached) == samples(source)
    sent = pickle.loads(pickle.dumps(cached))  # to a spawned worker
    assert sent._file is None
    assert samples(sent) == samples(source)
    small = Cached(source, 48)
    small.build(SPACE)
    for i in range(len(source)):
        np.testing.assert_array_equal(small[i].image, resize_image(source[i].image, 48))
        np.testing.assert_array_equal(small[i].mask, source[i].mask)
    assert len(files(cache)) == 2
    with pytest.raises(IndexError):
        cached[12]


def test_fields_of_view_are_stored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "TrainDataset" / "MINE"
    for kind in ("Imgs", "GT", "FOV"):
        (folder / kind).mkdir(parents=True)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (31 + i, 45, 3), dtype=np.uint8)).save(folder / "Imgs" / f"{i}.png")
        for kind in ("GT", "FOV"):
            Image.fromarray(rng.integers(0, 2, (31 + i, 45)).astype(bool)).save(folder / kind / f"{i}.png")
    cached = Cached(pairs(tmp_path), None)
    cached.build(SPACE)
    assert cached._opened() is not None
    for i in range(3):
        stored, plain = cached[i], cached.source[i]
        assert stored.valid is not None
        assert plain.valid is not None
        np.testing.assert_array_equal(stored.valid, plain.valid)
        np.testing.assert_array_equal(stored.mask, plain.mask)


def epoch(root: Path, recipe: str, **options: Any) -> dict[str, torch.Tensor]:
    with initialize_config_dir(CONF, version_base="1.3"):
        augmentation = instantiate(compose("data/cod", [f"data/augmentation={recipe}"]).data.augmentation)
    defaults = {"image_size": 64, "batch_size": 3, "num_workers": 0, "val_fraction": 0.3, "augmentation": augmentation}
    data = COSDataModule(root, ["MINE"], [], **{**defaults, **options})
    data.prepare_data()
    data.setup("fit")
    seed_everything(1, workers=True, verbose=False)
    found = {}
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            for name, image, mask in zip(batch["name"], batch["image"], batch["mask"], strict=True):
                found[name] = torch.cat([image.flatten(), mask.flatten().float()])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["none", "paper", "strong", "windows"])
@pytest.mark.parametrize("fast_decode", [False, True])
def test_training_is_the_same_with_and_without(root: Path, cache: Path, recipe: str, fast_decode: bool) -> None:
    plain, cached = (epoch(root, recipe, cache=on, fast_decode=fast_decode, num_workers=on) for on in (False, True))
    assert len(files(cache)) == 1
    assert plain.keys() == cached.keys()
    assert all(torch.equal(plain[name], cached[name]) for name in plain)


def test_data_that_changes_gets_a_new_file_and_data_that_moves_does_not(root: Path, cache: Path) -> None:
    Cached(pairs(root), None).build(SPACE)
    moved = root.parent / "elsewhere"
    shutil.copytree(root, moved)
    again = Cached(pairs(moved), None)
    again.build(SPACE)
    assert len(files(cache)) == 1
    image = moved / "TrainDataset" / "MINE" / "Imgs" / "n003.jpg"
    Image.open(moved / "TrainDataset" / "MINE" / "Imgs" / "n004.jpg").save(image, quality=95)
    changed = Cached(pairs(moved), None)
    assert changed._opened() is None
    assert samples(changed) == samples(changed.source)
    changed.build(SPACE)
    assert len(files(cache)) == 2
    assert samples(changed) == samples(changed.source)


def test_bound(root: Path, cache: Path) -> None:
    source = pairs(root)
    whole, small = Cached(source, None), Cached(source, 32)
    note = whole.build(1000)
    assert note is not None
    assert "not cached" in note
    assert samples(whole) == samples(source)
    needed = 12 * 71 * 93 * 3 * 1.2
    whole.build(int(needed))
    assert len(files(cache)) == 1
    time.sleep(0.01)
    (cache / "images" / ".left.part").write_bytes(b"by a killed process")
    os.utime(cache / "images" / ".left.part", (0, 0))
    small.build(int(needed))  # the older file is deleted
    assert len(files(cache)) == 1
    assert small._opened() is not None
    assert whole._opened() is None
    assert samples(whole) == samples(source)


def test_a_cut_file_or_none_at_all_is_no_harm(root: Path, cache: Path) -> None:
    cached = Cached(pairs(root), None)
    cached.build(SPACE)
    file = files(cache)[0]
    reading = Cached(pairs(root), None)
    first = reading[0].image
    file.unlink()
    np.testing.assert_array_equal(reading[0].image, first)  # still mapped
    file.write_bytes(b"12345678" * 3)
    fresh = Cached(pairs(root), None)
    assert fresh._opened() is None
    assert samples(fresh) == samples(fresh.source)
    fresh.build(SPACE)
    assert fresh.stored_bytes() > 12 * 71 * 93 * 3  # written anew


def _build_slowly(root: Path) -> None:
    cached = Cached(pairs(root), None)
    prepared = cached._prepared
    cached._prepared = lambda index: time.sleep(60 * (index > 5)) or prepared(index)  # type: ignore[method-assign]
    cached.build(SPACE)


def test_a_kill_in_the_middle_of_writing(root: Path, cache: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_build_slowly, args=(root,))
    process.start()
    deadline = time.monotonic() + 60
    while not files(cache) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    (part,) = files(cache)
    assert part.suffix == ".part"
    cached = Cached(pairs(root), None)
    assert samples(cached) == samples(cached.source)  # by decoding
    os.utime(part, (0, 0))
    assert cached.build(SPACE) is None
    assert [file.suffix for file in files(cache)] == [".bin"]
    assert cached.stored_bytes() > 0
    assert samples(cached) == samples(cached.source)


def test_the_sets_of_one_training_do_not_displace_each_other(root: Path, cache: Path) -> None:
    write_scenes(root / "TrainDataset" / "OTHER", 12, "o", size=(71, 93), seed=2)
    one = 12 * 71 * 93 * 3.2 / 1e9
    data = COSDataModule(root, ["MINE", "OTHER"], [], val_fraction=0, cache=True, cache_gb=1.5 * one)
    with pytest.warns(UserWarning, match=r"OTHER: not cached, .* more than is left of data\.cache_gb"):
        data.prepare_data()
    assert [cached.stored_bytes() > 0 for cached in data.folders.cached] == [True, False]


def test_a_small_file_is_whole_or_not_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert keep(cache / "verdicts" / "a", b"1")
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("was put in its place"))
    monkeypatch.setattr(Path, "write_bytes", _full)
    assert not keep(cache / "verdicts" / "b", b"2")
    assert [path.name for path in (cache / "verdicts").iterdir()] == ["a"]


def _full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_or_read_only_disk_is_a_note(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = Cached(pairs(root), None)
    monkeypatch.setattr(cached, "_write", _full)
    note = cached.build(SPACE)
    assert note is not None
    assert "No space left" in note
    assert files(cache) == []
    monkeypatch.setenv("COS_CACHE", str(root / "TrainDataset" / "MINE" / "Imgs" / "n001.jpg"))
    assert cached.build(SPACE) is not None
    assert samples(cached) == samples(cached.source)


def _build(root: Path, start: Any, results: Any) -> None:
    cached = Cached(pairs(root), None)
    start.wait()
    note = cached.build(SPACE)
    results.put((note, samples(cached) == samples(cached.source), cached._opened() is not None))


def test_writers_at_the_same_time(root: Path, cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    processes = [context.Process(target=_build, args=(root, start, results)) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    outcomes = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert outcomes == [(None, True, True)] * 4
    assert len(files(cache)) == 1


def test_fast_decode_halves_large_jpegs_only(tmp_path: Path) -> None:
    write_scenes(tmp_path / "TrainDataset" / "MINE", 2, "n", size=(200, 300))
    plain, fast = pairs(tmp_path), pairs(tmp_path, shrink_to=96)
    assert (plain[0].image.shape, fast[0].image.shape) == ((200, 300, 3), (100, 150, 3))
    assert fast[0].mask.shape == (200, 300)
    assert pairs(tmp_path, shrink_to=101)[0].image.shape == (200, 300, 3)
    a, b = resize_image(plain[0].image, 96).astype(int), resize_image(fast[0].image, 96).astype(int)
    assert 0 < np.abs(a - b).mean() < 4  # other pixels, the same picture


def test_fast_decode_is_said_in_reports(root: Path) -> None:
    described = COSDataModule(root, ["MINE"], [], fast_decode=True).describe()
    assert described["notes"] == ["data.fast_decode: large JPEGs were decoded at a part of their size"]
    assert COSDataModule(root, ["MINE"], []).describe()["notes"] == []


def test_the_side_at_which_images_are_cached_is_the_one_that_trains(root):
    for scales, side in (([1.0], 128), ([0.75], 96), ([0.75, 1.0], None)):
        with initialize_config_dir(CONF, version_base="1.3"):
            cfg = compose("train", ["data/augmentation=none", f"+data.augmentation.scales={scales}"])
        settings = COSDataModule(root, ["MINE"], [], image_size=128, augmentation=instantiate(cfg.data.augmentation))
        assert settings.settings.cached_size == side
