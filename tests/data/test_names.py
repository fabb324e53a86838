"""Names of the user's own files: patterns, subfolders, sets with the same file names, and formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data.datamodule import COSDataModule
from src.data.layouts import OwnNames, locate_set
from src.data.readers import EXTENSIONS, read_image
from src.data.sources import FolderPairs
from src.data.verify.report import verify
from src.utils.errors import UserError
from tests.fixtures.folders import write_set


def module(root: Path, *sets: str, tests: tuple[str, ...] = (), **options: object) -> COSDataModule:
    settings = {"image_size": 32, "batch_size": 2, "num_workers": 0, "val_fraction": 0, **options}
    return COSDataModule(root, list(sets), list(tests), **settings)  # type: ignore[arg-type]


def rename(folder: Path, pattern: str) -> None:
    for path in list(folder.iterdir()):
        path.rename(folder / (pattern.replace("%s", path.stem) + path.suffix))


@pytest.mark.parametrize(
    ("images", "masks"), [(None, "%s_segmentation.png"), (None, "mask-%s"), ("%s_image", "%s_mask"), ("%s_0000", None)]
)
def test_own_names_of_images_and_masks(tmp_path: Path, images: str | None, masks: str | None) -> None:
    write_set(tmp_path / "MINE", ["a", "b", "c"])
    rename(tmp_path / "MINE" / "Imgs", images or "%s")
    rename(tmp_path / "MINE" / "GT", masks.removesuffix(".png") if masks else "%s")
    folders = locate_set(tmp_path, "train", "MINE", OwnNames(images, masks))
    assert folders is not None
    assert FolderPairs(folders, "MINE").names == ["a", "b", "c"]
    data = module(tmp_path, "MINE", images=images, masks=masks)
    data.setup("fit")
    if images is None or masks is None:
        key, pattern = ("masks", masks or "") if images is None else ("images", images)
        with pytest.raises(UserError, match=f"add data.{key}={pattern.removesuffix('.png')}") as error:
            module(tmp_path, "MINE").setup("fit")
        assert len(str(error.value).splitlines()) == 2


def test_masks_beside_their_images(tmp_path: Path) -> None:
    write_set(tmp_path / "MINE", ["a", "b"])
    rename(tmp_path / "MINE" / "GT", "%s_mask")
    (tmp_path / "MINE" / "images").mkdir()
    for kind in ("Imgs", "GT"):
        for path in (tmp_path / "MINE" / kind).iterdir():
            path.rename(tmp_path / "MINE" / "images" / path.name)
        (tmp_path / "MINE" / kind).rmdir()
    data = module(tmp_path, "MINE", masks="%s_mask.png")
    data.setup("fit")
    assert data.folders.trained[0].names == ["a", "b"]


@pytest.mark.parametrize("pattern", ["_mask", "%s_%s", "masks/%s"])
def test_a_pattern_that_is_none(tmp_path: Path, pattern: str) -> None:
    write_set(tmp_path / "MINE", ["a"])
    with pytest.raises(UserError, match=f"data.masks={pattern}: expected a file name"):
        module(tmp_path, "MINE", masks=pattern).setup("fit")


def test_sequences_in_subfolders_are_paired_by_their_paths(tmp_path: Path) -> None:
    for sequence in ("one", "two"):
        write_set(tmp_path / sequence, ["0001", "0002"])
        for kind, name in (("Imgs", "images"), ("GT", "masks")):
            (tmp_path / "MINE" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / sequence / kind).rename(tmp_path / "MINE" / name / sequence)
    data = module(tmp_path / "MINE", ".", groups="(.*)/", folds=2)
    data.setup("fit")
    assert data.folders.trained[0].names == ["one/0001", "one/0002", "two/0001", "two/0002"]
    parts = data._opened_parts()
    assert {name.split("/")[0] for name in parts.train.names}.isdisjoint(name.split("/")[0] for name in parts.val.names)


def test_an_own_set_is_called_by_its_folder(tmp_path: Path) -> None:
    write_set(tmp_path / "Frogs", [f"f{i}" for i in range(9)])
    data = module(tmp_path / "Frogs", tests=(".",))
    data.setup("test")
    assert data.test_names == ["Frogs"]
    data = module(tmp_path / "Frogs", ".", test_fraction=0.5)
    data.setup("fit")
    assert data.test_names == ["Frogs"]
    assert data.describe()["train_sets"] == ["Frogs"]
    assert verify(tmp_path / "Frogs", ["."], [], workers=1).sets[0].label == "Frogs-Train"


def test_published_sets_keep_their_spelling_and_one_set_is_one(tmp_path: Path) -> None:
    write_set(tmp_path / "TestDataset" / "camo", ["a"])
    data = module(tmp_path, tests=("camo",))
    with pytest.warns(UserWarning, match="1 of 250"):
        data.setup("test")
    assert data.test_names == ["CAMO"]
    with pytest.raises(UserError, match="camo and CAMO are one set by name"):
        module(tmp_path, tests=("camo", "CAMO")).setup("test")


def test_joined_sets_keep_the_names_of_their_images_apart(tmp_path: Path) -> None:
    for name in ("A", "B"):
        write_set(tmp_path / "TrainDataset" / name, [f"im{i}" for i in range(12)])
    data = module(tmp_path, "A", "B", test_fraction=0.4)
    data.setup("fit")
    (loader,) = data.test_dataloader()
    names = [name for batch in loader for name in batch["name"]]
    assert len(set(names)) == len(names) > 2
    assert {name.split("/")[0] for name in names} == {"A", "B"}
    assert list(loader.dataset.source.names) == names


def test_every_format_that_pillow_decodes_is_read(tmp_path: Path) -> None:
    Image.init()
    undecodable = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF", "EPS", "IPTC"}
    assert {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN} - {
        suffix for suffix, kind in Image.registered_extensions().items() if kind in undecodable
    } == EXTENSIONS
    write_set(tmp_path / "MINE", ["a", "b", "c", "d", "e"])
    picture = Image.fromarray(np.full((40, 48, 3), 90, np.uint8))
    for stem, suffix, kind in (
        ("b", ".jfif", "JPEG"),
        ("c", ".avif", "AVIF"),
        ("d", ".tga", "TGA"),
        ("e", ".JP2", "JPEG2000"),
    ):
        (tmp_path / "MINE" / "Imgs" / f"{stem}.jpg").unlink()
        picture.save(tmp_path / "MINE" / "Imgs" / f"{stem}{suffix}", kind)
        assert read_image(tmp_path / "MINE" / "Imgs" / f"{stem}{suffix}").shape == (40, 48, 3)
    data = module(tmp_path, "MINE")
    data.setup("fit")
    assert len(data.folders.trained[0]) == 5


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    write_set(tmp_path / "MINE", ["a", "b"])
    (tmp_path / "MINE" / "Imgs" / "c.heic").touch()
    (tmp_path / "MINE" / "Imgs" / "Thumbs.db").touch()
    (finding,) = verify(tmp_path, ["MINE"], [], workers=1).sets[0].findings
    assert (finding.severity, finding.kind) == ("warning", "left out")
    assert "1 .heic (c.heic)" in finding.text
    with pytest.warns(UserWarning, match=r"1 \.heic"):
        module(tmp_path, "MINE").setup("fit")
