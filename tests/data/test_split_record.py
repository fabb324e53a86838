"""Which images moved between two halves of a training."""

from __future__ import annotations

from src.data.datamodule import COSDataModule
from src.data.split_record import changed_images
from tests.fixtures.folders import write_scenes


def record(**parts: str) -> dict[str, str]:
    return {
        part: "\n".join(f"{word.partition(':')[2] or 7}\t{word.partition(':')[0]}" for word in text.split())
        for part, text in parts.items()
    }


def compared(before: dict[str, str], now: dict[str, str]) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    return changed_images(before, now, notes), notes


BEFORE = record(train="a b c d", val="e f")


def test_the_same_images_and_an_older_checkpoint_say_nothing():
    assert compared(BEFORE, BEFORE) == ([], [])
    assert changed_images(None, BEFORE, []) == []


def test_images_that_change_sides_are_named():
    problems, notes = compared(BEFORE, record(train="a b c e", val="d f"))
    assert not notes
    assert ["would validate" in line and " d;" in line for line in problems] == [True, False]
    assert ["would train" in line and " e;" in line for line in problems] == [False, True]


def test_images_that_are_new_gone_or_altered_are_told():
    problems, notes = compared(BEFORE, record(train="a b c:8 n", val="e f"))
    assert not problems
    assert [line.partition(" since")[0].removeprefix("training images that are ") for line in notes] == [
        "new",
        "gone",
        "with other bytes",
    ]
    assert [line.rpartition(": ")[2] for line in notes] == ["n", "d", "c"]


def test_other_images_are_other_data_even_under_the_same_names():
    assert (
        "other training images (x) than the checkpoint's (a, b, c, d, e and 1 more)"
        in compared(BEFORE, record(train="x", val=""))[0][0]
    )
    assert "other training images" in compared(BEFORE, record(train="a:1 b:2 c:3 d:4", val="e f"))[0][0]


def test_the_sizes_of_several_sets_are_recorded(tmp_path):
    for name, seed in (("A", 0), ("B", 1)):
        write_scenes(tmp_path / "TrainDataset" / name, 3, "n", seed=seed)
    data = COSDataModule(tmp_path, ["A", "B"], [], image_size=32, batch_size=2, num_workers=0, val_fraction=0.3)
    data.setup("fit")
    lines = "\n".join(data.split_record().values()).split("\n")
    sizes = {name: int(size) for size, _, name in (line.partition("\t") for line in lines if line)}
    assert sizes == {
        f"{path.parents[1].name}/{path.stem}": path.stat().st_size for path in tmp_path.glob("TrainDataset/*/Imgs/*")
    }
    assert len(sizes) == 6


def test_sizes_that_an_older_record_lacks_say_nothing():
    assert compared(record(train="a:0 b:0", val="e:0"), record(train="a b", val="e")) == ([], [])
