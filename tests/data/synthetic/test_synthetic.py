"""The synthetic set: deterministic, in range, and as hard as asked for."""

from itertools import combinations, pairwise

import cv2
import numpy as np
import pytest

from src.data.synthetic import SyntheticCamouflage, SyntheticDataModule
from src.data.synthetic.shapes import grow_to_area
from src.data.synthetic.textures import KINDS, random_texture
from src.utils.errors import UserError


def test_a_scene_depends_on_seed_split_and_index_only() -> None:
    scenes = SyntheticCamouflage(10, 64, 0.4, seed=5)
    first = scenes[7]
    scenes[2]
    longer = SyntheticCamouflage(500, 64, 0.4, seed=5)
    np.testing.assert_array_equal(first.image, longer[7].image)
    np.testing.assert_array_equal(first.mask, longer[7].mask)
    for other in (SyntheticCamouflage(10, 64, 0.4, seed=6), SyntheticCamouflage(10, 64, 0.4, seed=5, split="val")):
        assert (first.image != other[7].image).mean() > 0.5
    assert first.name == scenes.names[7] == "synthetic_train_00007"


def test_scenes_are_pinned() -> None:
    """Scores on the synthetic set only compare if its scenes never change; the tolerance is for OpenCV's builds."""
    scenes = SyntheticCamouflage(3, 96, 0.4, seed=0)
    means = [[scenes[i].image.mean(), 1e3 * scenes[i].mask.mean()] for i in range(3)]
    np.testing.assert_allclose(means, [[117.1, 48.18], [84.75, 106.45], [88.79, 269.1]], atol=0.5)


@pytest.mark.parametrize("size", [(128, 128), (64, 200), (33, 32)])
def test_masks_and_images_are_well_formed(size: tuple[int, int]) -> None:
    for concealment in (0.0, 1.0):
        for scene in map(SyntheticCamouflage(25, size, concealment, seed=2).__getitem__, range(25)):
            assert scene.image.shape == (*size, 3)
            assert scene.image.dtype == np.uint8
            assert scene.mask.shape == size
            assert scene.mask.dtype == bool
            assert 0.03 <= scene.mask.mean() <= 0.4
            assert scene.image.std() > 8  # not blown out or black


def test_object_keeps_its_place_when_concealed() -> None:
    """Concealment changes how the object looks, not where it is."""
    for index in range(5):
        open_scene, hidden = (SyntheticCamouflage(5, 64, c)[index] for c in (0.0, 0.9))
        np.testing.assert_array_equal(open_scene.mask, hidden.mask)


def test_every_texture_kind_occurs_and_renders() -> None:
    rng = np.random.default_rng(0)
    assert {random_texture(rng).kind for _ in range(100)} == set(KINDS)


def test_grow_to_area_covers_the_fraction() -> None:
    y, x = np.mgrid[:100, :100]
    mask = grow_to_area(-np.hypot(y - 50, x - 40).astype(np.float32), 0.2)
    assert mask.mean() == pytest.approx(0.2, abs=0.005)


def separation(values: np.ndarray, mask: np.ndarray) -> float:
    """Area under the ROC curve of one value per pixel against the mask, the better of both signs; 0.5: by chance."""
    ranks = np.argsort(np.argsort(values, axis=None)).reshape(mask.shape)
    inside, outside = int(mask.sum()), int((~mask).sum())
    area = (ranks[mask].sum() - inside * (inside - 1) / 2) / (inside * outside)
    return float(max(area, 1 - area))


def texture_energy(image: np.ndarray) -> np.ndarray:
    """(H·W, 6): the local structure tensor at two scales, brightness removed."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey -= cv2.GaussianBlur(grey, (0, 0), 6)
    maps = []
    for scale in (1.0, 2.0):
        blurred = cv2.GaussianBlur(grey, (0, 0), scale)
        dx, dy = cv2.Sobel(blurred, -1, 1, 0), cv2.Sobel(blurred, -1, 0, 1)
        maps += [cv2.GaussianBlur(product, (0, 0), 5) for product in (dx * dx, dy * dy, dx * dy)]
    features = np.stack(maps, axis=-1).reshape(-1, len(maps))
    return (features - features.mean(0)) / (features.std(0) + 1e-9)


def best_linear(features: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fisher's discriminant, fitted to the true mask: an upper bound of what the features reveal."""
    inside = mask.ravel()
    within = np.cov(features[inside].T) + np.cov(features[~inside].T) + 1e-3 * np.eye(features.shape[1])
    return (features @ np.linalg.solve(within, features[inside].mean(0) - features[~inside].mean(0))).reshape(
        mask.shape
    )


@pytest.mark.slow
def test_texture_tells_the_object_and_brightness_does_not() -> None:
    levels, count = (0.0, 0.4, 0.8, 1.0), 40
    by_texture = []
    for concealment in levels:
        scenes = list(map(SyntheticCamouflage(count, 128, concealment, seed=3).__getitem__, range(count)))
        brightness = np.mean([separation(cv2.cvtColor(s.image, cv2.COLOR_RGB2GRAY), s.mask) for s in scenes])
        features = [texture_energy(scene.image) for scene in scenes]
        found = np.mean([separation(best_linear(f, s.mask), s.mask) for f, s in zip(features, scenes, strict=True)])
        # the score of the same fit for a mask of another scene
        chance = np.mean(
            [separation(best_linear(f, scenes[i - 1].mask), scenes[i - 1].mask) for i, f in enumerate(features)]
        )
        by_texture.append(found - chance)
        if concealment >= 0.4:
            assert brightness < 0.65
        if concealment == 0.4:
            assert found > 0.93
    assert by_texture[1] > 0.12
    assert all(easier > harder - 0.01 for easier, harder in pairwise(by_texture))
    assert by_texture[-1] < 0.6 * by_texture[0]


def test_data_module() -> None:
    data = SyntheticDataModule(num_train=6, num_val=3, num_test=4, image_size=48, batch_size=2, num_workers=0)
    data.setup("fit")
    seen = {name for batch in data.train_dataloader() for name in batch["name"]}
    val = {name for batch in data.val_dataloader() for name in batch["name"]}  # type: ignore[union-attr]
    test = {name for batch in data.test_dataloader()[0] for name in batch["name"]}
    assert (len(seen), len(val), len(test)) == (6, 3, 4)
    assert all(a.isdisjoint(b) for a, b in combinations((seen, val, test), 2))
    assert data.test_names == ["synthetic"]
    assert data.describe()["concealment"] == 0.4
    with pytest.raises(
        UserError, match=r"data.concealment=1.5(.|\n)*data.num_test=0|data.num_test=0(.|\n)*data.concealment=1.5"
    ):
        SyntheticDataModule(num_test=0, concealment=1.5).setup("test")
