"""The recipes: binary masks that stay on their objects, reproducible and independent draws."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from src.data.dataset import COSDataset, COSEvalDataset, collate_eval
from src.data.synthetic.scenes import SyntheticCamouflage
from src.data.transforms import CropUpTo, Sharpness, paper_recipe, reseed, resize_image, resize_mask, resize_only
from tests.fixtures.painted_masks import PaintedMasks


@pytest.mark.parametrize("recipe", [paper_recipe, resize_only])
def test_mask_stays_binary_and_on_its_object(recipe) -> None:  # type: ignore[no-untyped-def]
    sizes = [(300, 400), (120, 90), (64, 64), (32, 47), (500, 200)] * 4
    data = COSDataset(PaintedMasks(sizes), recipe, 96)
    torch.manual_seed(0)
    for sample in data:  # type: ignore[attr-defined]
        image, mask = sample["image"], sample["mask"]
        assert image.shape == (3, 96, 96)
        assert mask.shape == (1, 96, 96)
        assert image.dtype == mask.dtype == torch.float32
        assert 0 <= image.min() <= image.max() <= 1
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        # away from the outline, where antialiasing and sharpening act, the brighter pixels are the mask
        inside = -torch.nn.functional.max_pool2d(-mask, 7, 1, 3)[0] > 0.5
        outside = torch.nn.functional.max_pool2d(mask, 7, 1, 3)[0] < 0.5
        grey = image.mean(0)
        if inside.any():
            assert grey[inside].min() > grey[outside].max()


def test_resizes_share_their_pixel_centres() -> None:
    """Objects are at the same place in image and mask, on average within 1/20 pixel; OpenCV's nearest is 0.5 off."""
    rng = np.random.default_rng(0)
    shifts = []
    for _ in range(100):
        top, left = rng.integers(5, 60, 2)
        bottom, right = rng.integers(100, 200, 2)
        mask = np.zeros((210, 330), np.uint8)
        mask[top:bottom, left:right] = 1
        image = np.repeat(mask[..., None] * np.uint8(255), 3, -1)
        centres = [(np.argwhere(small).T * small[small > 0]).sum(1) / small.sum() for small in _shrunk(image, mask)]
        shifts.append(centres[0] - centres[1])
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.05


def _shrunk(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return resize_image(image, 48)[..., 0] / 255.0, resize_mask(mask, 48)


def test_shrinking_does_not_alias() -> None:
    checkers = np.repeat((np.indices((320, 320)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, -1)
    np.testing.assert_allclose(resize_image(checkers, 100), 127.5, atol=12)


@pytest.mark.parametrize("side", [32, 33, 40, 200])
def test_crop_is_bounded_and_not_centred(side: int) -> None:
    crop = CropUpTo(30)
    image = np.arange(side * side, dtype=np.int32).reshape(side, side, 1).repeat(3, -1).astype(np.float32)
    removed, starts = [], []
    for _ in range(300):
        out = crop(image=image)["image"]
        top, left = divmod(int(out[0, 0, 0]), side)
        removed.append(side - out.shape[0])
        starts.append((top, side - out.shape[0] - top))
        assert out.shape[1] + left <= side
    bound = min(30, side // 4)
    assert max(removed) == bound
    assert min(removed) == 0
    assert any(abs(before - after) > 1 for before, after in starts)
    assert {before - after > 0 for before, after in starts} == {True, False}


def test_sharpness_is_pillows() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    for factor in (0.0, 1.0, 2.5):
        ours = Sharpness(0, 3).apply(image, factor=factor)
        pillow = np.asarray(ImageEnhance.Sharpness(Image.fromarray(image)).enhance(factor))
        # Pillow rounds the smoothed image before it extrapolates
        np.testing.assert_allclose(ours[1:-1, 1:-1].astype(int), pillow[1:-1, 1:-1].astype(int), atol=2)


def test_draws_depend_on_torch_seed_alone() -> None:
    def run(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return [data[i]["image"] for i in (0, 0, 1)]

    data = COSDataset(SyntheticCamouflage(2, 64), paper_recipe, 64)
    first, again, other = run(1), run(1), run(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])
    copy = pickle.loads(pickle.dumps(data))  # workers may be spawned
    torch.manual_seed(1)
    assert torch.equal(copy[0]["image"], first[0])


def test_steps_draw_independently() -> None:
    """After `set_random_seed` all steps of albumentations 2.0.8 share a state: only flipped images are ever rotated."""
    recipe = paper_recipe(32)
    mask = np.zeros((96, 96), np.uint8)
    mask[:, :20] = 1
    counts = np.zeros((2, 2), int)
    for seed in range(600):
        reseed(recipe, seed)
        out = recipe(image=np.full((96, 96, 3), 128, np.uint8), mask=mask)
        flipped = (
            out["mask"][:, -1].sum() + out["mask"][:, -4].sum() > out["mask"][:, 0].sum() + out["mask"][:, 3].sum()
        )
        # the colour step scales all of a grey image alike, rotation alone brings in black corners
        rotated = np.ptp(out["image"][:, :, 0]) > 0
        counts[int(flipped), int(rotated)] += 1
    share = counts[:, 1] / counts.sum(1)
    assert abs(counts[1].sum() / 600 - 0.5) < 0.08
    assert abs(share[0] - 0.2) < 0.08
    assert abs(share[1] - 0.2) < 0.08


def test_evaluation_keeps_masks_at_their_own_size() -> None:
    source = PaintedMasks([(50, 70), (33, 41)])
    data = COSEvalDataset(source, 64)
    batch = collate_eval([data[0], data[1]])
    assert batch["image"].shape == (2, 3, 64, 64)
    assert [tuple(mask.shape) for mask in batch["mask"]] == [(50, 70), (33, 41)]
    assert all(mask.dtype == torch.bool for mask in batch["mask"])
    assert batch["name"] == ["0", "1"]
    # training without augmentation sees the very same image
    assert torch.equal(COSDataset(source, resize_only, 64)[0]["image"], batch["image"][0])
