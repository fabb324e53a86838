"""The recipes that Hydra composes: exact geometry, one draw for image and mask, and an order set by the seed alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
import torch.distributed as dist
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning import seed_everything

from src.cli.command import CONF
from src.data.datamodule import COSDataModule
from src.data.dataset import COSDataset
from src.data.sampler import EpochSampler, EvalSampler, SeededIndex
from src.data.transforms import Recipe, paper_recipe, reseed
from tests.fixtures.folders import write_root
from tests.fixtures.painted_masks import PaintedMasks

RECIPES = sorted(path.stem for path in (Path(CONF) / "data" / "augmentation").glob("*.yaml"))


def recipe(name: str) -> Recipe:
    with initialize_config_dir(CONF, version_base="1.3"):
        return instantiate(compose("data/cod", [f"data/augmentation={name}"]).data.augmentation)


def test_the_shipped_paper_recipe_is_the_one_in_code() -> None:
    composed, coded = recipe("paper")(64), paper_recipe(64)
    rng = np.random.default_rng(0)
    for seed in range(40):
        image, mask = rng.integers(0, 255, (90, 120, 3), dtype=np.uint8), rng.integers(0, 2, (90, 120), dtype=np.uint8)
        outputs = []
        for transform in (composed, coded):
            reseed(transform, seed)
            outputs.append(transform(image=image, mask=mask))
        np.testing.assert_array_equal(outputs[0]["image"], outputs[1]["image"])
        np.testing.assert_array_equal(outputs[0]["mask"], outputs[1]["mask"])


def test_windows_are_the_pixels_of_the_file() -> None:
    """At DRIVE's 576 px nothing is resized: neighbours differ as in the file, unless the image was rotated (p 0.2)."""
    transform = recipe("windows")
    assert transform.sizes(576) == (288,)
    rows, columns = np.mgrid[:584, :565]
    mask = ((7 * rows + 13 * columns) % 251).astype(np.uint8)
    image = np.zeros((*mask.shape, 3), dtype=np.uint8)
    pipeline = transform(288)
    exact, places = 0, set()
    for seed in range(20):
        reseed(pipeline, seed)
        found = pipeline(image=image, mask=mask)["mask"].astype(int)
        assert found.shape == (288, 288)
        down, right = ({*np.unique(np.diff(found, axis=axis) % 251)} for axis in (0, 1))
        exact += down in ({7}, {251 - 7}) and right in ({13}, {251 - 13})
        places.add(int(found[0, 0]))
    assert exact >= 12
    assert len(places) > 10


@pytest.mark.parametrize(
    ("flip", "turned"), [(A.HorizontalFlip, np.fliplr), (A.VerticalFlip, np.flipud), (A.Transpose, None)]
)
def test_flips_are_exact(flip: Any, turned: Any) -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), rng.integers(0, 2, (64, 64), dtype=np.uint8)
    out = Recipe([flip(p=1.0)])(64)(image=image, mask=mask)
    expected = (image.transpose(1, 0, 2), mask.T) if turned is None else (turned(image), turned(mask))
    np.testing.assert_array_equal(out["image"], expected[0])
    np.testing.assert_array_equal(out["mask"], expected[1])


@pytest.mark.parametrize("name", RECIPES)
def test_a_draw_depends_on_its_seed_alone(name: str) -> None:
    transform = recipe(name)(64)
    image = np.random.default_rng(0).integers(0, 255, (80, 90, 3), dtype=np.uint8)
    mask = (image[..., 0] > 127).astype(np.uint8)

    def draw(seed: int) -> list[np.ndarray]:
        reseed(transform, seed)
        return list(transform(image=image, mask=mask).values())

    first = [draw(seed) for seed in range(30)]
    torch.manual_seed(5)
    again = [draw(seed) for seed in reversed(range(30))][::-1]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    assert len({out[0].tobytes() for out in first}) == (1 if name == "none" else 30)


def test_strong_geometry_keeps_the_mask_on_its_object() -> None:
    strong = recipe("strong")
    geometry = Recipe([step for step in strong.before if isinstance(step, A.DualTransform)])
    data = COSDataset(PaintedMasks([(200, 260)] * 30), geometry, 96)
    torch.manual_seed(0)
    for sample in data:  # type: ignore[attr-defined]
        image, mask = sample["image"].mean(0), sample["mask"]
        inside = -torch.nn.functional.max_pool2d(-mask, 7, 1, 3)[0] > 0.5
        outside = torch.nn.functional.max_pool2d(mask, 7, 1, 3)[0] < 0.5
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        if inside.any():
            assert image[inside].min() > image[outside].max()


def module(root: Path, **options: Any) -> COSDataModule:
    defaults: dict[str, Any] = {
        "train_sets": ["MINE"],
        "test_sets": ["MINE"],
        "image_size": 64,
        "batch_size": 4,
        "num_workers": 0,
    }
    return COSDataModule(root, **{**defaults, **options})


def epoch(data: COSDataModule, number: int = 0) -> dict[str, torch.Tensor]:
    """Name → (image, mask) of one epoch."""
    seed_everything(3, workers=True, verbose=False)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)  # type: ignore[union-attr]
    return {
        name: torch.cat([image, mask])
        for batch in loader
        for name, image, mask in zip(batch["name"], batch["image"], batch["mask"], strict=True)
    }


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 3])
def test_samples_do_not_depend_on_the_number_of_workers(tmp_path: Path, workers: int) -> None:
    root = write_root(tmp_path, train=17)
    options: dict[str, Any] = {"augmentation": recipe("strong"), "persistent_workers": False, "val_fraction": 0}
    alone, several = (epoch(module(root, num_workers=n, **options)) for n in (0, workers))
    assert list(alone) == list(several)  # the order, too
    assert all(torch.equal(alone[name], several[name]) for name in alone)
    other = epoch(module(root, **options), number=1)
    assert not any(
        torch.equal(alone[name], other[name])
        for name in alone.keys() & other.keys()
        if alone[name].shape == other[name].shape
    )


def ranks(monkeypatch: pytest.MonkeyPatch, world: int, rank: int) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: world)
    monkeypatch.setattr(dist, "get_rank", lambda: rank)


def test_samples_do_not_depend_on_the_number_of_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_root(tmp_path, train=16)
    options: dict[str, Any] = {"augmentation": recipe("paper"), "val_fraction": 0, "batch_size": 2}
    alone = epoch(module(root, **options))
    together: dict[str, torch.Tensor] = {}
    for rank in range(2):
        ranks(monkeypatch, 2, rank)
        part = epoch(module(root, **options))
        assert not together.keys() & part.keys()
        together |= part
    assert together.keys() == alone.keys()
    assert all(torch.equal(alone[name], together[name]) for name in alone)


def test_batches_of_several_sizes_agree_over_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strong = recipe("strong")
    assert strong.sizes(352) == (256, 352, 448)
    assert strong.sizes(32) == (32, 32, 32)
    assert recipe("paper").sizes(350) == (350,)
    data = list(range(400))
    sizes: list[list[int | None]] = []
    for rank in range(2):
        ranks(monkeypatch, 2, rank)
        indices = list(EpochSampler(data, 1, 0, (256, 352, 448), batch_size=4))  # type: ignore[arg-type]
        batches = [{index.size for index in indices[i : i + 4]} for i in range(0, len(indices), 4)]
        assert all(len(batch) == 1 for batch in batches)
        sizes.append([index.size for index in indices])
    assert sizes[0] == sizes[1]
    assert {256, 352, 448} == set(sizes[0])
    monkeypatch.undo()
    shapes = {
        tuple(image.shape[1:])
        for image in epoch(module(write_root(tmp_path, train=60), augmentation=strong, image_size=128)).values()
    }
    assert shapes == {(96, 96), (128, 128), (160, 160)}


def test_index_without_a_size_takes_the_modules() -> None:
    data = COSDataset(PaintedMasks([(80, 90)]), recipe("none"), 64)
    assert data[SeededIndex(0, 1)]["image"].shape == (3, 64, 64)
    assert data[SeededIndex(0, 1, 96)]["mask"].shape == (1, 96, 96)


@pytest.mark.parametrize("count", [1, 7, 8, 83])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_evaluation_sees_each_sample_once(count: int, world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    for rank in range(world):
        ranks(monkeypatch, world, rank)
        sampler = EvalSampler(list(range(count)))  # type: ignore[arg-type]
        seen += list(sampler)
        assert len(sampler) == len(list(sampler))
    assert sorted(seen) == list(range(count))
