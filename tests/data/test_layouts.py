"""Every layout of the public archives, recognised by names alone, and the message when a set is missing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data.datamodule import COSDataModule
from src.data.layouts import locate_set, missing_root, missing_set
from src.data.published_sets import SETS, Split, clinic_sequence, group_of, spec_of
from src.data.sources import FolderPairs
from src.data.verify.checks import check_pairs
from src.utils.errors import UserError
from tests.fixtures.folders import write_set

GREY = np.full((8, 9), 255, np.uint8)
GREY[0] = 0

LAYOUTS: dict[str, tuple[list[str], str, dict[Split, list[str]]]] = {
    "benchmark archive": (
        [
            "TrainDataset/CAMO/Imgs/a.jpg",
            "TrainDataset/CAMO/GT/a.png",
            "TestDataset/CAMO/Imgs/b.jpg",
            "TestDataset/CAMO/GT/b.png",
        ],
        "CAMO",
        {"train": ["a"], "test": ["b"]},
    ),
    "CAMO-V1.0": (
        [
            "CAMO-V.1.0-CVIU2019/Images/Train/camourflage_00001.jpg",
            "CAMO-V.1.0-CVIU2019/Images/Test/camourflage_00012.jpg",
            "CAMO-V.1.0-CVIU2019/GT/camourflage_00001.png",
            "CAMO-V.1.0-CVIU2019/GT/camourflage_00012.png",
        ],
        "CAMO",
        {"train": ["camourflage_00001"], "test": ["camourflage_00012"]},
    ),
    "COD10K-v3": (
        [
            f"COD10K-v3/{split}/{kind}/COD10K-{cam}-1-{split}.{'jpg' if kind == 'Image' else 'png'}"
            for split in ("Train", "Test")
            for kind in ("Image", "GT_Object", "GT_Instance", "GT_Edge")
            for cam in ("CAM", "NonCAM")
        ],
        "COD10K",
        {"train": ["COD10K-CAM-1-Train"], "test": ["COD10K-CAM-1-Test"]},
    ),
    "NC4K": (["NC4K/Imgs/1.jpg", "NC4K/GT/1.png", "NC4K/Instance/1.png"], "NC4K", {"train": ["1"], "test": ["1"]}),
    "Kvasir-SEG": (["Kvasir-SEG/images/cju0.jpg", "Kvasir-SEG/masks/cju0.jpg"], "Kvasir-SEG", {"train": ["cju0"]}),
    "polyp archive, Kvasir": (
        [f"TrainDataset/{place}.png" for place in ("image/cju0a", "image/17", "masks/cju0a", "masks/17")],
        "Kvasir",
        {"train": ["cju0a"]},
    ),
    "polyp archive, ClinicDB": (
        [f"TrainDataset/{place}.png" for place in ("image/cju0a", "image/17", "masks/cju0a", "masks/17")],
        "CVC-ClinicDB",
        {"train": ["17"]},
    ),
    "polyp archive, ETIS": (
        ["TestDataset/ETIS-LaribPolypDB/images/1.png", "TestDataset/ETIS-LaribPolypDB/masks/1.png"],
        "ETIS",
        {"test": ["1"]},
    ),
    "whole CVC-ClinicDB": (
        ["CVC-ClinicDB/Original/612.tif", "CVC-ClinicDB/Ground Truth/612.tif"],
        "CVC-612",
        {"train": ["612"]},
    ),
    "DRIVE": (
        [
            f"DRIVE/{split}/{kind}"
            for split, kinds in {
                "training": ["images/21_training.tif", "1st_manual/21_manual1.gif", "mask/21_training_mask.gif"],
                "test": ["images/01_test.tif", "1st_manual/01_manual1.gif", "mask/01_test_mask.gif"],
            }.items()
            for kind in kinds
        ],
        "DRIVE",
        {"train": ["21"], "test": ["01"]},
    ),
    "CHASE_DB1": (
        [f"CHASE_DB1/Image_{n}{end}" for n in ("01L", "10R", "11L") for end in (".jpg", "_1stHO.png", "_2ndHO.png")],
        "CHASE_DB1",
        {"train": ["Image_01L", "Image_10R"], "test": ["Image_11L"]},
    ),
    "STARE": (["STARE/stare-images/im0001.ppm", "STARE/labels-ah/im0001.ah.ppm"], "STARE", {"train": ["im0001"]}),
    "GDD": (
        ["GDD/train/image/1.jpg", "GDD/train/mask/1.png", "GDD/test/image/2.jpg", "GDD/test/mask/2.png"],
        "GDD",
        {"train": ["1"], "test": ["2"]},
    ),
    "own folders": (["images/x.webp", "masks/x.bmp"], ".", {"train": ["x"]}),
    "own set": (["MINE/Image/x.jpg", "MINE/Mask/x.gif"], "MINE", {"train": ["x"]}),
}  # fmt: skip


def plant(root: Path, files: list[str]) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(GREY).save(path)
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_found(tmp_path: Path, layout: str) -> None:
    files, name, expected = LAYOUTS[layout]
    plant(tmp_path, files)
    for split, names in expected.items():
        folders = locate_set(tmp_path, split, name)
        assert folders is not None
        pairs = FolderPairs(folders, name)
        assert list(pairs.names) == names
        assert check_pairs(pairs) == []
        assert pairs[0].mask[2:].all()


@pytest.mark.parametrize("layout", ["COD10K-v3", "DRIVE", "CAMO-V1.0", "GDD"])
def test_root_may_be_the_sets_own_folder(tmp_path: Path, layout: str) -> None:
    files, name, expected = LAYOUTS[layout]
    plant(tmp_path, files)
    own = tmp_path / Path(files[0]).parts[0]
    for split, names in expected.items():
        folders = locate_set(own, split, name)
        assert folders is not None
        assert list(FolderPairs(folders, name).names) == names


@pytest.mark.filterwarnings("ignore:DRIVE-Test")
def test_fields_of_view_travel_with_the_samples(tmp_path: Path) -> None:
    plant(tmp_path, LAYOUTS["DRIVE"][0])
    inside = np.zeros((8, 9), np.uint8)
    inside[2:5] = 255
    Image.fromarray(inside).save(tmp_path / "DRIVE" / "test" / "mask" / "01_test_mask.gif")
    data = COSDataModule(tmp_path, ["DRIVE"], ["DRIVE"], image_size=32, batch_size=2, num_workers=0, val_fraction=0)
    with pytest.warns(UserWarning, match="1 of 20"):
        data.setup("test")
    batch = next(iter(data.test_dataloader()[0]))
    np.testing.assert_array_equal(batch["valid"][0].numpy(), inside > 0)
    (tmp_path / "DRIVE" / "test" / "mask" / "01_test_mask.gif").unlink()
    with pytest.raises(UserError, match="image without field-of-view mask"):
        COSDataModule(tmp_path, ["DRIVE"], ["DRIVE"], num_workers=0, val_fraction=0).setup("test")


@pytest.mark.filterwarnings("ignore:DRIVE-T")
def test_a_split_of_images_and_fields_of_view_is_absent(tmp_path: Path) -> None:
    """The challenge distributes DRIVE's test images without labels; `mask` is the field of view, not the vessels."""
    plant(tmp_path, [path for path in LAYOUTS["DRIVE"][0] if "1st_manual/01" not in path])
    assert locate_set(tmp_path, "test", "DRIVE") is None
    assert "no labels" in missing_set(tmp_path, "test", "DRIVE")
    data = COSDataModule(tmp_path, ["DRIVE"], ["DRIVE", "CHASE_DB1"], num_workers=0, val_fraction=0)
    with pytest.raises(UserError, match="no labels, only images and fields of view"):
        data.setup("fit")
    write_set(tmp_path / "TestDataset" / "CHASE_DB1", ["Image_11L"])
    data = COSDataModule(tmp_path, ["DRIVE"], ["DRIVE", "CHASE_DB1"], num_workers=0, val_fraction=0)
    with pytest.warns(UserWarning, match="no labels, only images and fields of view"):
        data.setup("fit")
    assert data.test_names == ["CHASE_DB1"]


def test_prepared_vessels_in_a_folder_called_mask_are_the_truth(tmp_path: Path) -> None:
    plant(tmp_path, ["DRIVE/test/images/01.png", "DRIVE/test/mask/01.png"])
    folders = locate_set(tmp_path, "test", "DRIVE")
    assert folders is not None
    assert list(FolderPairs(folders, "DRIVE").names) == ["01"]


def test_real_fields_of_view(shared_data: Path) -> None:
    for split, first in (("train", "21"), ("test", "01")):
        folders = locate_set(shared_data, split, "DRIVE")  # type: ignore[arg-type]
        assert folders is not None
        pairs = FolderPairs(folders, "DRIVE")
        assert (len(pairs), pairs.names[0]) == (20, first)
        sample = pairs[0]
        assert sample.valid is not None
        assert 0.6 < sample.valid.mean() < 0.75  # a disc in a 584 × 565 picture
        assert sample.mask[~sample.valid].mean() < 0.001


def test_numbers_of_the_tasks() -> None:
    def numbers(names: str, split: Split) -> list[int | None]:
        return [SETS[name].expected(split) for name in names.split()]

    assert numbers("CAMO COD10K", "train") == [1000, 3040]
    assert numbers("CHAMELEON CAMO COD10K NC4K", "test") == [76, 250, 2026, 4121]
    assert numbers("Kvasir CVC-ClinicDB", "train") == [900, 550]
    assert numbers("Kvasir CVC-ClinicDB CVC-ColonDB ETIS CVC-300", "test") == [100, 62, 380, 196, 60]
    assert numbers("GDD GSD", "train") == [2980, 3202]
    assert numbers("GDD GSD", "test") == [936, 810]
    assert numbers("DRIVE", "train") == numbers("DRIVE", "test") == [20]


def test_groups() -> None:
    assert [clinic_sequence(str(frame)) for frame in (1, 25, 26, 612, 613)] == [
        "CVC-ClinicDB sequence 1", "CVC-ClinicDB sequence 1", "CVC-ClinicDB sequence 2",
        "CVC-ClinicDB sequence 29", "613",
    ]  # fmt: skip
    assert len({clinic_sequence(str(frame)) for frame in range(1, 613)}) == 29
    assert group_of("CVC-ClinicDB", "30") == "CVC-ClinicDB sequence 2"
    assert group_of("CAMO", "camourflage_00001") == "camourflage_00001"
    assert group_of("CVC-ClinicDB", "a_3", "(a)_") == "a"


def test_a_missing_set_says_what_is_there(tmp_path: Path) -> None:
    plant(tmp_path, ["TestDataset/COD10k/Imgs/a.jpg", "TestDataset/COD10k/GT/a.png", "notes/a.png"])
    typed = missing_set(tmp_path, "test", "CHAMELON")
    assert "did you mean CHAMELEON?" in typed
    assert "notes/" in typed
    assert "COD10k/" in typed
    assert "nothing is downloaded" in typed
    absent = missing_set(tmp_path, "test", "NC4K")
    assert "CVPR 2021" in absent
    assert "did you mean" not in absent
    assert locate_set(tmp_path, "test", "COD10K") is not None
    assert spec_of("cod10k") is spec_of("COD10K")
    (tmp_path / "TestDataset" / "HALF" / "Imgs").mkdir(parents=True)
    assert "needs a folder of images" in missing_set(tmp_path, "test", "HALF")


def test_a_wrong_root_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    assert f"did you mean {tmp_path / 'datasets'}?" in missing_root(tmp_path / "dataset")
    assert "holds datasets/" in missing_root(tmp_path / "qqq")
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert f"did you mean {tmp_path / 'shared' / 'data'}?" in missing_root(tmp_path / "share" / "data")
    plant(tmp_path, ["Imgs/a.jpg"])
    assert "is a file" in missing_root(tmp_path / "Imgs" / "a.jpg")


def test_one_folder_cannot_be_trained_and_tested_on(tmp_path: Path) -> None:
    write_set(tmp_path / "MINE", [f"n{i}" for i in range(6)])
    with pytest.raises(UserError, match="is the training set MINE and the test set MINE"):
        COSDataModule(tmp_path, ["MINE"], ["MINE"], val_fraction=0).setup("fit")


@pytest.mark.filterwarnings("ignore:STARE-Train")
def test_packed_images_are_named(tmp_path: Path) -> None:
    plant(tmp_path, ["STARE/labels-ah/im0001.ah.ppm"])
    (tmp_path / "STARE" / "stare-images").mkdir()
    (tmp_path / "STARE" / "stare-images" / "im0001.ppm.gz").touch()
    with pytest.raises(UserError, match=r"im0001\.ppm\.gz; unpack it"):
        COSDataModule(tmp_path, ["STARE"], [], val_fraction=0).setup("fit")


def test_composed_and_decomposed_names_meet(tmp_path: Path) -> None:
    plant(tmp_path, ["MINE/images/caf\u00e9.png", "MINE/masks/cafe\u0301.png"])
    folders = locate_set(tmp_path, "train", "MINE")
    assert folders is not None
    assert list(FolderPairs(folders, "MINE").names) == ["caf\u00e9"]
