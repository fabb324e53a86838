"""What a mask's values mean, and that training, verify and score refuse implausible masks alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.data.datamodule import COSDataModule
from src.data.dataset import COSDataset
from src.data.layouts import SetFolders
from src.data.masks import value_range
from src.data.readers import read_judged, read_truth
from src.data.sources import FolderPairs, RawSample
from src.data.transforms import Recipe, paper_recipe
from src.data.verify.report import verify
from src.score import score_maps_of
from src.utils.errors import UserError
from tests.fixtures.folders import write_scenes
from tests.fixtures.tiny import config

COUNT = 6
TRUTH = np.zeros((20, 30), dtype=bool)
TRUTH[3:12, 5:20] = True


def rim(mask: np.ndarray) -> np.ndarray:
    import cv2

    kernel = np.ones((5, 5), np.uint8)
    return (cv2.dilate(mask.astype(np.uint8), kernel) > 0) & ~(cv2.erode(mask.astype(np.uint8), kernel) > 0)


def with_ignored_rim(mask: np.ndarray) -> np.ndarray:
    return np.where(rim(mask), 255, mask).astype(np.uint8)


def in_alpha(mask: np.ndarray, colour: int = 0) -> np.ndarray:
    return np.dstack([np.full((*mask.shape, 3), colour, np.uint8), mask.astype(np.uint8) * 255])


def voc_palette(mask: np.ndarray) -> Image.Image:
    image = Image.fromarray(with_ignored_rim(mask)).convert("L")
    colours = [0, 0, 0, 128, 0, 0, *([0] * 759), 224, 224, 192]
    image.putpalette(colours)
    return image


def field_of_view(mask: np.ndarray) -> np.ndarray:
    ys, xs = np.indices(mask.shape)
    height, width = mask.shape
    return (((ys / height - 0.5) ** 2 + (xs / width - 0.5) ** 2 < 0.23).astype(np.uint8)) * 255


UNUSABLE: dict[str, tuple[Callable[[np.ndarray], np.ndarray | Image.Image], str]] = {
    "object 1, ignored rim 255": (with_ignored_rim, "values 0, 1, 255"),
    "0 and 2": (lambda mask: mask.astype(np.uint8) * 2, "values up to 2"),
    "trimap": (lambda mask: np.where(rim(mask), 3, 2 - mask).astype(np.uint8), "values up to 3"),
    "grey rim": (lambda mask: np.where(rim(mask), 128, mask * 255).astype(np.uint8), "values 0, 128, 255"),
    "palette of labels": (voc_palette, "values 0, 128, 224"),
    "16-bit labels": (lambda mask: mask.astype(np.uint16) * 300, "values up to 300"),
    "nothing": (lambda mask: np.zeros(mask.shape, np.uint8), "no object in any of"),
    "everything": (lambda mask: np.full(mask.shape, 255, np.uint8), "everything is object"),
    "field of view": (field_of_view, "a field of view, and not the objects"),
}


def plant(root: Path, made: Callable[[np.ndarray], np.ndarray | Image.Image], suffix: str = ".png") -> Path:
    """A data root whose set MINE has masks of a kind."""
    write_scenes(root / "TrainDataset" / "MINE", COUNT, "n")
    for path in (root / "TrainDataset" / "MINE" / "GT").iterdir():
        image = made(np.array(Image.open(path).convert("L")) > 127)
        path.unlink()
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path.with_suffix(suffix))
    return root


def module(root: Path, **options: object) -> COSDataModule:
    return COSDataModule(root, ["MINE"], [], image_size=32, batch_size=2, num_workers=0, val_fraction=0, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", UNUSABLE)
def test_masks_that_cannot_be_meant_are_refused_everywhere_in_the_same_words(tmp_path: Path, kind: str) -> None:
    made, words = UNUSABLE[kind]
    root = plant(tmp_path, made)
    with pytest.raises(UserError, match=words) as training:
        module(root).setup("fit")
    for full in (False, True):
        errors = [
            str(one) for one in verify(root, ["MINE"], [], full, workers=1).sets[0].findings if one.severity == "error"
        ]
        assert sorted(f"  - {line}" for line in errors) == sorted(str(training.value).splitlines()[1:])
    gts = root / "TrainDataset" / "MINE" / "GT"
    maps = tmp_path / "maps"
    maps.mkdir()
    for path in gts.iterdir():
        Image.new("L", Image.open(path).size, 255).save(maps / path.name)
        Image.fromarray(np.arange(90 * 70, dtype=np.uint32).reshape(70, 90).astype(np.uint8)).save(maps / path.name)
    with pytest.raises(UserError, match=words):
        score_maps_of(
            config("score", f"preds={maps}", f"gts={gts}", f"paths.output_dir={tmp_path / 'out'}", "workers=0")
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_a_mask_in_the_transparency_of_one_colour(tmp_path: Path, colour: int) -> None:
    root = plant(tmp_path, lambda mask: in_alpha(mask, colour))
    data = module(root)
    data.setup("fit")
    sample = data.folders.trained[0][0]
    plain = plant(tmp_path / "plain", lambda mask: mask)
    np.testing.assert_array_equal(sample.mask, FolderPairs(folders(plain), "MINE")[0].mask)
    assert "transparency" in data.describe()["masks"]["MINE-Train"] or colour == 255


def test_transparency_that_does_not_vary_says_nothing(tmp_path: Path) -> None:
    values = np.dstack([np.repeat(TRUTH[..., None].astype(np.uint8) * 255, 3, -1), np.zeros(TRUTH.shape, np.uint8)])
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_truth(tmp_path / "a.png").mask, TRUTH)


@pytest.mark.parametrize(
    "values", [np.array([[np.nan, 1.0], [0.0, 0.0]], np.float32), np.array([[-1, 1], [1, 1]], np.int32)]
)
def test_values_that_no_mask_has(tmp_path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert read_judged(tmp_path / "a.tif")[1].flaw is not None
    assert value_range(values) == 1


def folders(root: Path) -> SetFolders:
    return SetFolders(root / "TrainDataset" / "MINE" / "Imgs", root / "TrainDataset" / "MINE" / "GT")


@pytest.mark.parametrize("made", [with_ignored_rim, voc_palette])
def test_an_ignore_value_is_neither_object_nor_background(
    tmp_path: Path, made: Callable[[np.ndarray], np.ndarray | Image.Image]
) -> None:
    data = module(plant(tmp_path, made), ignore_value=255, test_fraction=0.3)
    data.setup("fit")
    plain = FolderPairs(folders(plant(tmp_path / "plain", lambda mask: mask)), "MINE")
    for sample in (data.folders.trained[0][i] for i in range(COUNT)):
        whole = plain[list(plain.names).index(sample.name)].mask
        assert sample.valid is not None
        np.testing.assert_array_equal(sample.valid, ~rim(whole))
        np.testing.assert_array_equal(sample.mask, whole & ~rim(whole))
    assert "ignored" in data.describe()["masks"]["MINE-Train"]
    batch = next(iter(data.train_dataloader()))
    assert batch["valid"].shape == batch["mask"].shape
    assert 0 < batch["valid"].mean() < 1
    tested = next(iter(data.test_dataloader()[0]))
    assert not tested["valid"][0].all()


def test_what_to_ignore_can_be_neither_blurred_nor_everything(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing is left but what"):
        module(plant(tmp_path / "a", lambda mask: mask.astype(np.uint8) * 255), ignore_value=255).setup("fit")
    with pytest.raises(UserError, match="save masks as PNG"):
        module(plant(tmp_path / "b", lambda mask: mask.astype(np.uint8) * 255, ".jpg"), ignore_value=255).setup("fit")
    with pytest.raises(UserError, match="every pixel is ignored"):
        module(plant(tmp_path / "c", lambda mask: np.full(mask.shape, 7, np.uint8)), ignore_value=7).setup("fit")


class OneSample:
    """A bright image whose lower half is ignored."""

    names = ("a",)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> RawSample:
        valid = np.ones((40, 40), bool)
        valid[20:] = False
        return RawSample(np.full((40, 40, 3), 200, np.uint8), np.eye(40, dtype=bool), "a", valid)


def test_what_augmentation_fills_in_is_ignored() -> None:
    from albumentations import Affine

    moved = Recipe([Affine(translate_px={"x": 10, "y": 0}, rotate=0, shear=0, scale=1, mask_interpolation=0, p=1.0)])
    sample = COSDataset(OneSample(), moved, 40, ignores=True)[0]
    valid = sample["valid"][0].numpy() > 0
    assert not valid[:, :10].any()
    assert valid[:20, 10:].all()
    assert not valid[20:].any()
    assert not (sample["mask"][0].numpy() * ~valid).any()
    assert "valid" not in COSDataset(OneSample(), moved, 40)[0]
    plain, ignoring = COSDataset(OneSample(), paper_recipe, 32), COSDataset(OneSample(), paper_recipe, 32, ignores=True)
    torch.manual_seed(3)
    first = plain[0]
    torch.manual_seed(3)
    assert torch.equal(first["image"], ignoring[0]["image"])
