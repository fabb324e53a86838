"""Training prompts: drawn from the sample's seed alone, true to the augmented mask, and checked before any work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from PIL import Image

from src.data import prompts, shared_memory, simulated_prompts
from src.data.datamodule import COSDataModule
from src.data.dataset import COSDataset
from src.data.prompt_recipe import PromptRecipe
from src.data.sampler import SeededIndex
from src.data.sources import RawSample
from src.data.synthetic import SyntheticCamouflage, SyntheticDataModule
from src.data.transforms import Recipe, paper_recipe, resize_image, resize_only
from src.utils.errors import UserError
from tests.fixtures.folders import write_root

NONE = dict.fromkeys(("none", "box", "clicks", "coarse", "maps", "wrong"), 0.0)
SIZE = 48


def only(kind: str, **settings: Any) -> PromptRecipe:
    return PromptRecipe(**NONE | {kind: 1.0} | settings)


def samples(recipe: PromptRecipe | None, count: int = 6, augmentation: Any = paper_recipe) -> list[Any]:
    scenes = SyntheticCamouflage(3, (60, 80), concealment=0.2, seed=0)
    data = COSDataset(scenes, augmentation, SIZE, prompts=recipe)
    return [data[SeededIndex(i % 3, 100 + i)] for i in range(count)]


def test_prompts_leave_image_and_mask_as_they_are():
    for with_prompts, without in zip(samples(PromptRecipe()), samples(None), strict=True):
        assert torch.equal(with_prompts["image"], without["image"])
        assert torch.equal(with_prompts["mask"], without["mask"])
        assert not {"prompt_target", "clicks"} & without.keys()


def test_prompts_depend_on_the_seed_alone():
    first, again = samples(PromptRecipe(none=0), 24), samples(PromptRecipe(none=0), 24)
    for one, other in zip(first, again, strict=True):
        for name, value in one.items():
            assert torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
    assert len({sample["prompt_certainty"].numpy().tobytes() for sample in first}) > 10
    assert len({sample["click_seed"] for sample in first}) == 24


def test_prompts_depend_on_seed_epoch_and_image():
    """Through the data module, whose order of the images differs between the epochs."""

    def drawn(seed: int, epoch: int) -> dict[str, bytes]:
        data = SyntheticDataModule(6, 2, 1, image_size=SIZE, batch_size=3, num_workers=0, prompts=PromptRecipe())
        data.setup("fit")
        torch.manual_seed(seed)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return {
            name: batch["prompt_certainty"][i].numpy().tobytes() + batch["click_seed"][i].numpy().tobytes()
            for batch in loader
            for i, name in enumerate(batch["name"])
        }

    first = drawn(0, 0)
    assert drawn(0, 0) == first
    for other in (drawn(0, 1), drawn(1, 0)):
        assert other.keys() == first.keys()
        assert not any(other[name] == value for name, value in first.items())
    assert len({*first.values()}) == 6


def test_a_box_holds_the_augmented_object():
    for sample in samples(only("box", jitter=0.0)):
        certainty, mask = sample["prompt_certainty"], sample["mask"] > 0
        assert certainty.shape == sample["prompt_target"].shape == (1, SIZE, SIZE)
        assert certainty.dtype == torch.float32
        assert certainty[mask].max() < 1e-6
        assert certainty.max() == pytest.approx(prompts.TRUST)


def test_clicks_are_asked_for_and_left_to_the_network():
    made = samples(only("clicks", max_clicks=3), 30)
    assert {sample["clicks"] for sample in made} == {1, 2, 3}
    assert not any(sample["prompt_certainty"].any() for sample in made)
    corrected = [sample["clicks"] for sample in samples(only("coarse"), 30)]
    assert 0 < sum(count > 0 for count in corrected) < 20
    assert not any(sample["clicks"] for sample in samples(only("wrong"), 12) + samples(only("none"), 12))


def test_wrong_prompts_have_little_trust():
    made = [float(sample["prompt_certainty"].max()) for sample in samples(only("wrong"), 12)]
    assert 0 < min(made) <= max(made) <= simulated_prompts.WRONG_TRUST


def test_the_mask_of_another_image_is_not_the_images_own():
    offered = list[np.ndarray]()

    class Asking(PromptRecipe):
        def sample(self, kind, rng, mask, other, map_):
            offered.extend(other(number) for number in range(4))
            return super().sample(kind, rng, mask, other, map_)

    scenes = SyntheticCamouflage(3, (60, 80), concealment=0.2, seed=0)
    for i in range(3):
        offered.clear()
        COSDataset(scenes, resize_only, SIZE, prompts=Asking())[SeededIndex(i, 7)]
        assert len(offered) == 4
        assert not any(np.array_equal(mask, scenes[i].mask) for mask in offered)
        assert {mask.tobytes() for mask in offered} == {scenes[j].mask.tobytes() for j in range(3) if j != i}


def flip(size: int) -> A.Compose:
    return Recipe([A.HorizontalFlip(p=1.0)])(size)


def test_another_networks_map_follows_the_augmentation(tmp_path):
    scenes = SyntheticCamouflage(3, (60, 80), concealment=0.2, seed=0)
    for i, name in enumerate(scenes.names):
        values = np.where(scenes[i].mask, 230, 25).astype(np.uint8)
        Image.fromarray(values).resize((40, 30)).save(tmp_path / f"{name}.png")  # at a network's own size
    for sample in samples(only("maps", folder=tmp_path), 3, flip):
        agrees = ((sample["prompt_target"] > 0.5) == (sample["mask"] > 0)).float().mean()
        assert agrees > 0.95
        assert 0 < sample["prompt_certainty"].max() <= prompts.TRUST


class AsCached(SyntheticCamouflage):
    """Scenes as a cache gives them: the image at the network's size, the mask at its own."""

    def __getitem__(self, index: int) -> RawSample:
        raw = super().__getitem__(index)
        return raw._replace(image=resize_image(raw.image, SIZE))


def test_a_cache_changes_no_prompt(tmp_path):
    scenes = [made(3, (60, 80), concealment=0.2, seed=0) for made in (SyntheticCamouflage, AsCached)]
    for i, name in enumerate(scenes[0].names):
        level = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))
        Image.fromarray(np.roll(level, 5 * i, 1)).save(tmp_path / f"{name}.png")
    for recipe in (only("maps", folder=tmp_path), only("wrong"), only("box")):
        whole, cached = (COSDataset(source, resize_only, SIZE, prompts=recipe) for source in scenes)
        for i in range(3):
            first, second = whole[SeededIndex(i, 5 + i)], cached[SeededIndex(i, 5 + i)]
            assert all(torch.equal(first[key], second[key]) for key in ("image", "mask", "prompt_target"))
            assert torch.equal(first["prompt_certainty"], second["prompt_certainty"])


def test_every_wrong_setting_is_told():
    wrong = PromptRecipe(**NONE | {"box": -1.0, "jitter": 0.5, "max_clicks": 0})
    assert [line.split("=")[0].split(":")[0] for line in wrong.problems()] == [
        "data.prompts.box",
        "data.prompts",
        "data.prompts.jitter",
        "data.prompts.max_clicks",
    ]
    assert "data.prompts.folder" in only("maps").problems()[0]
    assert PromptRecipe().problems() == []


def test_missing_maps_are_told_before_any_work(tmp_path):
    root = write_root(tmp_path / "data", train=12)
    (tmp_path / "maps").mkdir()
    settings: dict[str, Any] = {"train_sets": "MINE", "test_sets": "MINE", "image_size": 32, "num_workers": 0}
    settings |= {"augmentation": resize_only, "prompts": only("maps", folder=tmp_path / "maps")}
    with pytest.raises(UserError, match=r"data.prompts.folder=.*maps: has no train_\d+.png and \d+ more"):
        COSDataModule(root, **settings).setup("fit")
    Path(tmp_path / "maps").rmdir()
    with pytest.raises(UserError, match=r"data.prompts.jitter=0.7"):
        COSDataModule(root, **settings | {"prompts": PromptRecipe(jitter=0.7)}).setup("fit")


def test_prompts_count_in_shared_memory(monkeypatch):
    """Six planes of float32 instead of four, in the three batches of one process."""
    needed = 3 * 8 * 6 * 4 * 64**2
    scenes = SyntheticCamouflage(8, 64)
    for free, prompts_, fits in (
        (needed, PromptRecipe(), True),
        (needed - 1, PromptRecipe(), False),
        (2 * needed // 3, None, True),
    ):
        monkeypatch.setattr(
            shared_memory.shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(0, 0, free)
        )
        settings = SyntheticDataModule(image_size=64, batch_size=8, num_workers=1, prompts=prompts_).settings
        assert (shared_memory.shared_memory_problem(settings, scenes, [], 1) is None) == fits
