"""COSDataModule: splits, loaders, and every mistake named before any work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning import seed_everything
from PIL import Image

from src.data.datamodule import COSDataModule
from src.data.published_sets import SETS
from src.data.transforms import resize_only
from src.utils.errors import UserError
from tests.fixtures.folders import write_pair, write_root, write_set
from tests.fixtures.tiny import ROOT


def module(root: Path, **options: Any) -> COSDataModule:
    defaults: dict[str, Any] = {
        "train_sets": ["MINE"],
        "test_sets": ["MINE"],
        "image_size": 32,
        "batch_size": 4,
        "num_workers": 0,
    }
    return COSDataModule(root, **{**defaults, **options})


def names(loader: Any) -> list[str]:
    return [name for batch in loader for name in batch["name"]]


def test_no_file_is_in_two_splits(tmp_path: Path) -> None:
    data = module(write_root(tmp_path, train=40), val_fraction=0.2, test_fraction=0.2, batch_size=1)
    data.setup("fit")
    data.setup("fit")
    train, val = names(data.train_dataloader()), names(data.val_dataloader())
    test, held_out = (names(loader) for loader in data.test_dataloader())
    assert data.test_names == ["MINE", "held-out"]
    assert len(test) == 4
    assert sorted(train + val + held_out) == [f"train_{i:03d}" for i in range(40)]
    assert min(len(train), len(val), len(held_out)) > 0
    assert data.describe()["test_images"] == {"MINE": 4, "held-out": len(held_out)}
    alone = module(tmp_path, test_sets=[], val_fraction=0.2, test_fraction=0.2)
    alone.setup("fit")
    assert alone.test_names == ["MINE"]


def test_batches(tmp_path: Path) -> None:
    data = module(write_root(tmp_path, train=30), batch_size=4, eval_batch_size=3)
    data.setup()
    train = list(data.train_dataloader())
    assert all(batch["image"].shape == (4, 3, 32, 32) and batch["mask"].shape == (4, 1, 32, 32) for batch in train)
    assert len(train) == data.describe()["train_images"] // 4  # the incomplete batch is dropped
    batch = next(iter(data.test_dataloader()[0]))
    assert batch["image"].shape == (3, 3, 32, 32)
    assert batch["mask"][0].shape == (40, 48)
    small = module(tmp_path, batch_size=64)
    small.setup("fit")
    assert len(small.train_dataloader()) == 1  # but not when it is all there is


def test_order_and_augmentation_follow_the_seed(tmp_path: Path) -> None:
    data = module(write_root(tmp_path))
    data.setup("fit")

    def epoch(seed: int) -> tuple[list[str], torch.Tensor]:
        seed_everything(seed, workers=True, verbose=False)
        batches = list(data.train_dataloader())
        return [name for batch in batches for name in batch["name"]], torch.cat([batch["image"] for batch in batches])

    (order, images), (order_again, images_again), (other, _) = epoch(1), epoch(1), epoch(2)
    assert order == order_again
    assert torch.equal(images, images_again)
    assert order != other


def test_workers_give_reproducible_and_different_samples(tmp_path: Path) -> None:
    data = module(write_root(tmp_path, train=10), num_workers=2, val_fraction=0, persistent_workers=False)
    data.setup("fit")
    runs = []
    for _ in range(2):
        seed_everything(3, workers=True, verbose=False)
        runs.append(torch.cat([batch["image"] for batch in data.train_dataloader()]))
    assert torch.equal(*runs)


def test_the_holdout_can_stand_in_the_place_of_the_test_sets(tmp_path: Path) -> None:
    data = module(write_root(tmp_path), val_fraction=0.3, test_sets=[])
    data.test_on_holdout()
    data.setup("test")  # Lightning calls it a second time
    (loader,) = data.test_dataloader()
    assert data.test_names == ["MINE-holdout"]
    assert names(loader) == names(data.val_dataloader()) != []
    assert data.describe()["test_images"] == {"MINE-holdout": len(names(loader))}


@pytest.mark.parametrize(
    ("options", "words"), [({"val_fraction": 0.0}, "data.val_fraction=0"), ({"selection": "field"}, "selection=field")]
)
def test_a_training_that_held_nothing_out_has_no_holdout(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=f"{words}: this training held nothing out"):
        module(write_root(tmp_path, train=12), **options).test_on_holdout()


def test_field_selection_validates_on_the_first_test_set(tmp_path: Path) -> None:
    data = module(write_root(tmp_path, train=12), selection="field")
    data.setup("fit")
    assert names(data.val_dataloader()) == [f"test_{i:03d}" for i in range(4)]
    assert data.describe()["train_images"] == 12
    assert "test set MINE" in data.describe()["selected_on"]
    assert any("chosen on a test set" in note for note in data.describe()["notes"])
    assert "held-out 10%" in module(tmp_path).describe()["selected_on"]


def test_test_stage_needs_no_training_sets(tmp_path: Path) -> None:
    write_set(tmp_path / "TestDataset" / "MINE", ["a", "b"])
    data = module(tmp_path)
    data.setup("test")
    assert [len(loader.dataset) for loader in data.test_dataloader()] == [2]  # type: ignore[arg-type]
    with pytest.raises(UserError, match="TrainDataset/MINE"):
        data.setup("fit")


def test_absent_test_sets_are_left_out_aloud(tmp_path: Path) -> None:
    data = module(write_root(tmp_path), test_sets=["NC4K", "MINE", "CHAMELEON"])
    with pytest.warns(UserWarning, match="NC4K, CHAMELEON"):
        data.setup("fit")
    assert data.test_names == ["MINE"]
    assert any("NC4K" in note for note in data.describe()["notes"])
    with pytest.raises(UserError, match=r"test_sets=\[\]"):
        module(tmp_path, test_sets=["NC4K"]).setup("fit")
    with pytest.raises(UserError, match=r"did you mean NC4K\?"):  # not a published set, so misspelt rather than absent
        module(tmp_path, test_sets=["MINE", "NC4KK"]).setup("fit")
    module(tmp_path, test_sets=[]).setup("fit")


def test_incomplete_known_set_is_noted(tmp_path: Path) -> None:
    write_root(tmp_path)
    write_set(tmp_path / "TestDataset" / "CAMO", ["a", "b"])
    data = module(tmp_path, test_sets=["CAMO"])
    with pytest.warns(UserWarning, match="CAMO-Test, 2 of 250 images"):
        data.setup("test")


def no_mask(folder: Path) -> None:
    (folder / "GT" / "train_001.png").unlink()


def no_image(folder: Path) -> None:
    (folder / "Imgs" / "train_002.jpg").unlink()


def other_size(folder: Path) -> None:
    Image.fromarray(np.zeros((41, 48), np.uint8)).save(folder / "GT" / "train_003.png")


def unreadable(folder: Path) -> None:
    (folder / "Imgs" / "train_004.jpg").write_bytes(b"not a picture")


def twice(folder: Path) -> None:
    write_pair(folder, "train_005", suffix=".png")


def turned(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(folder / "Imgs" / "train_006.jpg", exif=exif)
    Image.fromarray(np.zeros((44, 44), np.uint8)).save(folder / "GT" / "train_006.png")


BREAKS: dict[Callable[[Path], None], tuple[str, str]] = {
    no_mask: ("Imgs/train_001.jpg", "image without mask"),
    no_image: ("GT/train_002.png", "mask without image"),
    other_size: ("GT/train_003.png", "mask is 48×41, its image train_003.jpg is 48×40"),
    unreadable: ("Imgs/train_004.jpg", "not a readable image"),
    twice: ("Imgs/train_005.jpg", "the same stem also in train_005.png"),
    turned: (
        "GT/train_006.png",
        "mask is 44×44, its image train_006.jpg is 40×48 (width×height, EXIF orientation 6 applied)",
    ),
}


@pytest.mark.parametrize("damage", BREAKS, ids=lambda damage: damage.__name__)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(write_root(tmp_path) / "TrainDataset" / "MINE")
    with pytest.raises(UserError) as caught:
        module(tmp_path).setup("fit")
    path, what = BREAKS[damage]
    assert len(caught.value.problems) == 1
    assert path in caught.value.problems[0].replace("\\", "/")
    assert what in caught.value.problems[0]


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    write_root(tmp_path)
    for damage in BREAKS:
        damage(tmp_path / "TrainDataset" / "MINE")
    (tmp_path / "TestDataset" / "MINE" / "GT" / "test_000.png").unlink()
    data = module(tmp_path, train_sets=["MINE", "ABSENT"], image_size=16, batch_size=0)
    with pytest.raises(UserError) as caught:
        data.setup("fit")
    text = str(caught.value)
    for expected in (
        "data.image_size=16",
        "data.batch_size=0",
        "TrainDataset/ABSENT",
        "test_000.jpg",
        *(path for path, _ in BREAKS.values()),
    ):
        assert expected in text
    with pytest.raises(UserError):  # a failed set-up does not count as done
        data.setup("fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 31}, "data.image_size=31"),
        ({"batch_size": 0}, "data.batch_size=0"),
        ({"eval_batch_size": -1}, "data.eval_batch_size=-1"),
        ({"num_workers": -1}, "data.num_workers=-1"),
        ({"train_sets": ["MINE", "MINE"]}, "data.train_sets: MINE is listed twice"),
        ({"val_fraction": 1.0}, "data.val_fraction=1.0"),
        ({"val_fraction": 0.6, "test_fraction": 0.5}, "sum below 1"),
        ({"val_fraction": 1e-6}, "holds out none of 30 training images"),
        ({"selection": "best"}, "data.selection=best"),
        ({"selection": "field", "test_sets": []}, "data.selection=holdout"),
        ({"train_sets": []}, "data.train_sets is empty"),
        ({"train_sets": ["OTHER"]}, "TrainDataset/OTHER"),
        ({"root": "/nowhere/at/all"}, "data.root=/nowhere/at/all"),
    ],
)
def test_settings_are_checked(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    root = options.pop("root", None) or write_root(tmp_path)
    with pytest.raises(UserError) as caught:
        module(Path(root), **options).setup("fit")
    assert message in str(caught.value)


def test_empty_set_and_nothing_to_test(tmp_path: Path) -> None:
    write_root(tmp_path)
    for name in ("Imgs", "GT"):
        (tmp_path / "TrainDataset" / "EMPTY" / name).mkdir(parents=True)
    with pytest.raises(UserError, match=r"EMPTY/Imgs: no image files"):
        module(tmp_path, train_sets=["EMPTY"]).setup("fit")
    with pytest.raises(UserError, match="nothing to test on"):
        module(tmp_path, test_sets=[]).setup("test")
    (tmp_path / "TrainDataset" / "HALF" / "Imgs").mkdir(parents=True)
    with pytest.raises(UserError, match="one of masks"):
        module(tmp_path, train_sets=["HALF"]).setup("fit")


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "conf" / "data").glob("*.yaml")))
def test_configs_instantiate(name: str, tmp_path: Path) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        config = compose(f"data/{name}").data
    data = instantiate(config)
    assert isinstance(data, COSDataModule)
    assert data.settings.image_size == (128 if name == "synthetic" else 352)
    assert data.settings.augmentation(64)(image=np.zeros((80, 90, 3), np.uint8))["image"].shape == (64, 64, 3)
    sets = {
        "cod": (["CAMO", "COD10K"], ["CHAMELEON", "CAMO", "COD10K", "NC4K"]),
        "camo": (["CAMO"], ["CAMO"]),
        "polyp": (["Kvasir", "CVC-ClinicDB"], ["Kvasir", "CVC-ClinicDB", "CVC-ColonDB", "ETIS", "CVC-300"]),
        "kvasir": (["Kvasir-SEG"], []),
        "tubular": (["DRIVE"], ["DRIVE"]),
        "transparent": (["GDD", "GSD"], ["GDD", "GSD"]),
        "cds2k": (["CAMO", "COD10K"], ["CDS2K"]),
        "folder": (["."], []),
        "synthetic": (["synthetic"], ["synthetic"]),
    }
    assert (list(data.settings.train_sets), list(data.settings.test_sets)) == sets[name]
    assert {*data.settings.train_sets, *data.settings.test_sets} <= {*SETS, ".", "synthetic"}


def test_the_data_of_older_checkpoints_is_still_understood(tmp_path: Path) -> None:
    old = {
        "_target_": "src.data.datamodule.COSDataModule", "root": str(write_root(tmp_path)),
        "train_sets": ["MINE"], "test_sets": ["MINE"],
        "image_size": 32, "batch_size": 4, "eval_batch_size": None, "num_workers": 0,
        "val_fraction": 0.1, "test_fraction": 0.0,
        "selection": "holdout", "augmentation": {"_target_": "src.data.transforms.paper_recipe", "_partial_": True},
        "pin_memory": False,
        "persistent_workers": True,
    }  # fmt: skip
    assert next(iter(instantiate(old).train_dataloader()))["image"].shape == (4, 3, 32, 32)


def test_one_set_needs_no_list(tmp_path: Path) -> None:
    data = module(write_root(tmp_path), train_sets="MINE", test_sets="MINE")
    assert (data.settings.train_sets, data.settings.test_sets) == (("MINE",), ("MINE",))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_a_file_cut_short_is_named_before_any_work(tmp_path: Path, suffix: str) -> None:
    folder = write_root(tmp_path) / "TrainDataset" / "MINE"
    write_pair(folder, "cut", size=(120, 120), suffix=suffix)
    whole = (folder / "Imgs" / f"cut{suffix}").read_bytes()
    (folder / "Imgs" / f"cut{suffix}").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UserError, match=rf"cut\{suffix}"):
        module(tmp_path).setup("fit")


def test_a_jpeg_with_bytes_after_its_end_is_whole(tmp_path: Path) -> None:
    folder = write_root(tmp_path) / "TrainDataset" / "MINE"
    with (folder / "Imgs" / "train_000.jpg").open("ab") as file:
        file.write(b"a camera's note" * 1000)
    module(tmp_path).setup("fit")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:CAMO-")
def test_real_camo(shared_data: Path) -> None:
    data = COSDataModule(
        shared_data, ["CAMO"], ["CAMO"], image_size=64, batch_size=4, num_workers=0, augmentation=resize_only
    )
    data.setup("fit")
    described = data.describe()
    assert described["train_images"] + described["val_images"] == 995
    assert described["notes"] == ["CAMO-Train, 995 of 1000 images", "CAMO-Test, 248 of 250 images"]
    assert next(iter(data.train_dataloader()))["image"].shape == (4, 3, 64, 64)
