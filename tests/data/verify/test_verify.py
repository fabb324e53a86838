"""Each corruption is planted and found, and sound data cause no findings."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data.datamodule import COSDataModule
from src.data.layouts import SetFolders
from src.data.sources import FolderPairs
from src.data.synthetic import SyntheticCamouflage
from src.data.verify import checks
from src.data.verify.checks import check_pairs, open_set
from src.data.verify.duplicates import find_copies
from src.data.verify.findings import Finding
from src.data.verify.inspection import inspect, signature
from src.data.verify.report import verify
from src.data.verify.verdicts import fingerprint
from src.utils.errors import UserError
from tests.fixtures.folders import write_scenes

COUNT = 9


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """TrainDataset/MINE with nine scenes n000 … n008, TestDataset/MINE with three others."""
    write_scenes(tmp_path / "TrainDataset" / "MINE", COUNT, "n", seed=1)
    write_scenes(tmp_path / "TestDataset" / "MINE", 3, "t", seed=2)
    return tmp_path


def image(root: Path, number: int = 4) -> Path:
    return root / "TrainDataset" / "MINE" / "Imgs" / f"n{number:03d}.jpg"


def mask(root: Path, number: int = 4) -> Path:
    return root / "TrainDataset" / "MINE" / "GT" / f"n{number:03d}.png"


def check(root: Path) -> list[Finding]:
    report = verify(root, ["MINE"], ["MINE"], workers=1)
    return [finding for one in report.sets for finding in one.findings if finding.severity != "note"]


def grey_mask(root: Path) -> np.ndarray:
    return np.array(Image.open(mask(root)).convert("L"))


def test_sound_data_has_no_findings(root: Path) -> None:
    report = verify(root, ["MINE"], ["MINE"], workers=1)
    assert [str(finding) for one in report.sets for finding in one.findings] == []
    assert report.usable
    described = report.as_dict()["sets"][0]
    assert (described["pairs"], described["image_modes"], described["mask_modes"]) == (
        COUNT,
        {"RGB": COUNT},
        {"1": COUNT},
    )
    assert described["width"] == {"min": 90.0, "median": 90.0, "max": 90.0}


def unpaired(root: Path) -> Path:
    mask(root).unlink()
    return image(root)


def doubled(root: Path) -> Path:
    Image.open(image(root)).save(image(root).with_suffix(".png"))
    return image(root)


def no_image(root: Path) -> Path:
    image(root).write_text("no picture")
    return image(root)


def truncated(root: Path) -> Path:
    content = image(root).read_bytes()
    image(root).write_bytes(content[: len(content) // 2])
    return image(root)


def hole(root: Path) -> Path:
    """A valid start and end, and between them zeros, as a failing disk leaves them; Pillow decodes it silently."""
    content = bytearray(image(root).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1024] = bytes(1024)
    image(root).write_bytes(content)
    Image.open(image(root)).load()
    return image(root)


def cut_and_closed(root: Path) -> Path:
    content = image(root).read_bytes()
    image(root).write_bytes(content[: len(content) // 2] + b"\xff\xd9")
    Image.open(image(root)).load()
    return image(root)


def png_body(root: Path) -> Path:
    content = bytearray(mask(root).read_bytes())
    start = content.index(b"IDAT") + 4
    content[start + 6] ^= 0xFF
    mask(root).write_bytes(content)
    return mask(root)


def png_checksum(root: Path) -> Path:
    content = bytearray(mask(root).read_bytes())
    content[-16] ^= 0xFF  # of the last IDAT
    mask(root).write_bytes(content)
    return mask(root)


def bomb(root: Path) -> Path:
    Image.new("1", (20000, 20000)).save(image(root).with_suffix(".png"))
    image(root).unlink()
    return image(root).with_suffix(".png")


def other_size(root: Path) -> Path:
    Image.fromarray(grey_mask(root)[:-1]).save(mask(root))
    return mask(root)


def picture_as_mask(root: Path) -> Path:
    Image.open(image(root)).convert("L").save(mask(root))
    return mask(root)


def labels(root: Path) -> Path:
    Image.fromarray((grey_mask(root) > 0).astype(np.uint8) * 2).save(mask(root))
    return mask(root)


def few_labels(root: Path) -> Path:
    Image.fromarray((grey_mask(root) > 0).astype(np.uint8) * 128).save(mask(root))
    return mask(root)


def link_to_nowhere(root: Path) -> Path:
    image(root).unlink()
    image(root).symlink_to(root / "nowhere.jpg")
    return image(root)


def grey(root: Path) -> Path:
    values = grey_mask(root)
    values[:2, :5] = 100
    Image.fromarray(values).save(mask(root))
    return mask(root)


def inverted(root: Path) -> Path:
    Image.fromarray(255 - grey_mask(root)).save(mask(root))
    return mask(root)


def empty(root: Path) -> Path:
    Image.fromarray(np.zeros_like(grey_mask(root))).save(mask(root))
    return mask(root)


def full(root: Path) -> Path:
    Image.fromarray(np.full_like(grey_mask(root), 255)).save(mask(root))
    return mask(root)


def colour(root: Path) -> Path:
    red = np.zeros((*grey_mask(root).shape, 3), np.uint8)
    red[..., 0] = grey_mask(root)
    Image.fromarray(red).save(mask(root))
    return mask(root)


def turned(root: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(image(root)).save(image(root), exif=exif, quality=95)
    return image(root)


def copy(root: Path) -> Path:
    Image.open(image(root, 2)).resize((70, 60)).save(image(root), quality=60)
    Image.fromarray(grey_mask(root)).resize((70, 60), Image.Resampling.NEAREST).save(mask(root))
    return image(root)


def mirrored_copy(root: Path) -> Path:
    Image.open(image(root, 2)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(image(root), quality=90)
    return image(root)


def leak(root: Path) -> Path:
    test = root / "TestDataset" / "MINE" / "Imgs" / "t001.jpg"
    Image.open(image(root)).save(test, quality=75)
    return test


def animation(root: Path) -> Path:
    first, second = Image.open(image(root)), Image.open(image(root, 5))
    image(root).unlink()
    first.save(image(root).with_suffix(".gif"), save_all=True, append_images=[second])
    return image(root).with_suffix(".gif")


PLANTED: dict[Callable[[Path], Path], tuple[str, str, str]] = {
    unpaired: ("error", "unpaired", "image without mask"),
    doubled: ("error", "doubled", "n004.png"),
    no_image: ("error", "unreadable", "not a readable image"),
    truncated: ("error", "unreadable", "truncated"),
    hole: ("error", "damaged", "Corrupt JPEG data"),
    cut_and_closed: ("error", "damaged", "premature end"),
    png_body: ("error", "unreadable", "cannot be read"),
    png_checksum: ("error", "damaged", "wrong checksum"),
    bomb: ("error", "unreadable", "too large to be decoded safely"),
    other_size: ("error", "size", "mask is 90×69, its image n004.jpg is 90×70"),
    picture_as_mask: ("error", "no mask", "grey picture"),
    labels: ("error", "labels", "values up to 2 of 255"),
    few_labels: ("error", "labels", "values 0, 128 of 255"),
    link_to_nowhere: ("error", "unreadable", "no such file"),
    grey: ("warning", "grey", "above 127.5 of 255"),
    inverted: ("warning", "inverted", "swapped"),
    empty: ("warning", "empty", "no object"),
    full: ("warning", "full", "everything is object"),
    colour: ("warning", "colour", "strongest channel"),
    turned: ("warning", "turned", "EXIF orientation 3"),
    copy: ("warning", "copy", "the same picture as n002.jpg"),
    mirrored_copy: ("warning", "copy", "the mirror image of n002.jpg"),
    leak: ("error", "leak", "of MINE-Train, which trains; remove it"),
    animation: ("warning", "frames", "2 frames"),
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_planted_corruption_is_found_and_nothing_else(root: Path, plant: Callable[[Path], Path]) -> None:
    path = plant(root)
    severity, kind, words = PLANTED[plant]
    found = check(root)
    assert [(one.severity, one.kind, one.path) for one in found if one.kind == kind] == [(severity, kind, path)]
    assert words in next(one.text for one in found if one.kind == kind)
    assert {one.path for one in found} == {path}


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("RGBA", ".png"), ("P", ".png"), ("CMYK", ".jpg"), ("L", ".jpg"), ("1", ".png"), ("I;16", ".png")],
)
def test_unusual_modes_are_no_problem(root: Path, mode: str, suffix: str) -> None:
    picture = Image.open(image(root))
    picture.load()
    image(root).unlink()
    deep = (
        Image.fromarray(np.array(picture.convert("L")).astype(np.uint16) * 257)
        if mode == "I;16"
        else picture.convert(mode)
    )
    deep.save(image(root).with_suffix(suffix))
    assert check(root) == []
    notes = [f for one in verify(root, ["MINE"], [], workers=1).sets for f in one.findings]
    assert [note.kind for note in notes] == ([] if mode == "L" else ["mode"])


def test_names_that_cannot_be_printed(root: Path) -> None:
    # A line break; bytes of another encoding, as archives from elsewhere have.
    for name in (
        "one\ntwo",
        "\udcc4\udce3",
    ):
        write = Image.open(image(root)).rotate(40 + len(name))
        write.save(os.fsencode(image(root).with_name(f"{name}.jpg")), "JPEG")
        Image.open(mask(root)).save(os.fsencode(mask(root).with_name(f"{name}.png")), "PNG")
    found = check(root)
    assert [finding.kind for finding in found] == ["name"] * 4
    lines = [str(finding) for finding in found]
    assert lines[0].startswith(f"{root}/TrainDataset/MINE/Imgs/one\\ntwo.jpg: control characters")
    assert all(line.isprintable() and line.encode() for line in lines)
    problems: list[str] = []
    open_set(root, "train", "MINE", problems)
    assert problems == lines
    with pytest.raises(UserError, match="rename it"):
        COSDataModule(root, ["MINE"], []).setup("fit")


def test_bombs_are_not_decoded_by_the_search_for_damage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr("src.data.verify.inspection.damage", lambda content: pytest.fail("was decoded"))
    found = inspect("n004", image(root), mask(root)).findings
    assert [(finding.kind, finding.path) for finding in found] == [
        ("unreadable", image(root)),
        ("unreadable", mask(root)),
    ]


def test_a_link_to_nowhere_is_a_mistake_of_the_user(root: Path) -> None:
    path = link_to_nowhere(root)
    with pytest.raises(UserError, match=f"{path.name}: no such file"):
        COSDataModule(root, ["MINE"], []).setup("fit")


def test_colour_masks_are_a_note(root: Path) -> None:
    Image.open(mask(root)).convert("RGB").save(mask(root))
    assert check(root) == []
    assert [(f.kind, f.path) for f in verify(root, ["MINE"], [], workers=1).sets[0].findings] == [("mode", mask(root))]


def test_zero_one_masks_are_a_note(root: Path) -> None:
    for number in range(COUNT):
        values = np.array(Image.open(mask(root, number)).convert("L"))
        Image.fromarray((values > 0).astype(np.uint8)).save(mask(root, number))
    assert check(root) == []
    assert {finding.kind for finding in verify(root, ["MINE"], [], workers=1).sets[0].findings} == {"0/1"}


def test_a_zero_one_mask_among_others_is_looked_at(root: Path) -> None:
    Image.fromarray((grey_mask(root) > 0).astype(np.uint8)).save(mask(root))
    assert [(finding.severity, finding.kind) for finding in check(root)] == [("warning", "mixed")]


def test_everything_at_once_and_absent_sets_listed(root: Path) -> None:
    (mask(root, 0)).unlink()
    no_image(root)
    report = verify(root, ["MINE", "COD10K"], ["MINE", "NC4K"], workers=1)
    assert report.count("error") == 2
    assert not report.usable
    assert report.absent == [("train", "COD10K"), ("test", "NC4K")]


def test_an_incomplete_set_is_usable_and_said(root: Path) -> None:
    (root / "TrainDataset" / "MINE").rename(root / "TrainDataset" / "CAMO")
    report = verify(root, ["CAMO"], [], full=False)
    assert [str(finding.text) for finding in report.sets[0].findings] == [f"CAMO-Train, {COUNT} of 1000 images"]
    assert report.usable


def _some_of(shared: Path, root: Path, split: str, name: str, step: int, *others: str) -> list[str]:
    """Link every ``step``-th image and mask of a set into ``root``, and those whose names end like ``others``."""
    taken = []
    for kind in ("Imgs", "GT"):
        source, target = (folder / split / name / kind for folder in (shared, root))
        target.mkdir(parents=True)
        files = sorted(source.iterdir())
        taken = [file.stem for i, file in enumerate(files) if i % step == 0 or file.stem.endswith(others)]
        for file in files:
            if file.stem in taken:
                (target / file.name).symlink_to(file)
    return taken


@pytest.mark.slow
def test_real_camo_is_sound(shared_data: Path, tmp_path: Path) -> None:
    counts = [len(_some_of(shared_data, tmp_path, f"{split}Dataset", "CAMO", 8)) for split in ("Train", "Test")]
    found = verify(tmp_path, ["CAMO"], ["CAMO"], workers=2).sets
    assert [len(one.pairs) for one in found] == counts
    assert [finding.kind for one in found for finding in one.findings if finding.severity != "note"] == [
        "number",
        "number",
    ]


@pytest.mark.slow
def test_the_leak_of_camo_is_found(shared_data: Path, tmp_path: Path) -> None:
    """Training image 00419 (not in the shared copy) is test image 00120, smaller and re-encoded: a known flaw."""
    test = shared_data / "TestDataset" / "CAMO"
    for split, names in (("TrainDataset", ["00419"]), ("TestDataset", ["00120", "00012", "00018"])):
        for name in names:
            source = "00120" if name == "00419" else name
            for kind, suffix in (("Imgs", ".jpg"), ("GT", ".png")):
                target = tmp_path / split / "CAMO" / kind / f"camourflage_{name}{suffix}"
                target.parent.mkdir(parents=True, exist_ok=True)
                picture = Image.open(test / kind / f"camourflage_{source}{suffix}")
                picture.thumbnail((512, 512)) if name == "00419" else None
                picture.save(target)
    report = verify(tmp_path, ["CAMO"], ["CAMO"], workers=1)
    leaks = [(finding.severity, finding.path.stem) for finding in report.sets[1].findings if finding.kind == "leak"]
    assert leaks == [("warning", "camourflage_00120")]
    assert report.usable
    (tmp_path / "TrainDataset" / "CAMO").rename(tmp_path / "TrainDataset" / "COD10K")
    assert not verify(tmp_path, ["COD10K"], ["CAMO"], workers=1).usable  # no flaws of another set are known


def test_frames_that_the_official_split_parted_are_a_warning(root: Path) -> None:
    """PraNet's CVC-ClinicDB test frames have neighbours in the training set; that is not the user's mistake."""
    for split, old, new in (
        ("Train", "n004", "27"),
        ("Train", "n005", "60"),
        ("Test", "t001", "28"),
        ("Test", "t002", "400"),
    ):
        for kind, suffix in (("Imgs", ".jpg"), ("GT", ".png")):
            folder = root / f"{split}Dataset" / "MINE" / kind
            (folder / f"{old}{suffix}").rename(folder / f"{new}{suffix}")
    train, test = (root / f"{split}Dataset" / "MINE" / "Imgs" for split in ("Train", "Test"))
    Image.open(train / "27.jpg").save(test / "28.jpg", quality=80)  # sequence 2, both
    Image.open(train / "60.jpg").save(test / "400.jpg", quality=80)  # sequences 3 and 19
    for split in ("Train", "Test"):
        (root / f"{split}Dataset" / "MINE").rename(root / f"{split}Dataset" / "CVC-ClinicDB")
    findings = verify(root, ["CVC-ClinicDB"], ["CVC-ClinicDB"], workers=1).sets[1].findings
    assert sorted((one.severity, one.path.stem) for one in findings if one.kind == "leak") == [
        ("error", "400"),
        ("warning", "28"),
    ]
    assert any("CVC-ClinicDB sequence 2" in one.text for one in findings)


@pytest.mark.slow
def test_real_kvasir_has_three_copies(shared_data: Path, tmp_path: Path) -> None:
    copies = {"0676": "0309", "0666": "0663", "0905": "0867"}
    taken = _some_of(shared_data, tmp_path, "TrainDataset", "Kvasir-SEG", 20, *copies, *copies.values())
    findings = verify(tmp_path, ["Kvasir-SEG"], [], workers=2).sets[0].findings
    told = {finding.path.stem[-4:]: str(finding.text) for finding in findings if finding.kind == "copy"}
    assert told.keys() == copies.keys()
    for copy, original in copies.items():
        assert f"colonoscopy_{original}" in told[copy]
    assert sum(finding.kind == "grey" for finding in findings) == len(taken)


@pytest.mark.parametrize(("scale", "quality"), [(1, 30), (0.5, 75), (2, 75)])
def test_copies_survive_encoding_and_scaling(scale: float, quality: int) -> None:
    scenes = SyntheticCamouflage(12, (120, 150), seed=7)
    originals = [scenes[i].image for i in range(12)]
    copies = []
    for picture in originals:
        buffer = io.BytesIO()
        Image.fromarray(picture).resize((int(150 * scale), int(120 * scale))).save(buffer, "JPEG", quality=quality)
        copies.append(np.array(Image.open(buffer)))
    found = find_copies([signature(picture) for picture in [*originals, *copies]])
    assert found == [(i, i + 12, False) for i in range(12)]
    mirrored = find_copies(
        [signature(picture) for picture in [*originals, *(picture[:, ::-1] for picture in originals)]]
    )
    assert mirrored == [(i, i + 12, True) for i in range(12)]


def test_blank_pictures_are_no_copies() -> None:
    assert find_copies([np.full((32, 32), value, np.float32) for value in (0, 128, 128, 255)]) == []
    assert find_copies([]) == []


def test_training_checks_once_and_again_when_a_file_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(checks, "check_pairs", lambda pairs: calls.append(1) or check_pairs(pairs))

    def problems() -> list[str]:
        found: list[str] = []
        open_set(root, "train", "MINE", found)
        return found

    assert problems() == problems() == []
    assert len(calls) == 1
    no_image(root)
    assert len(problems()) == len(problems()) == 1
    assert len(calls) == 3  # a bad verdict is never remembered


def test_fingerprint_sees_every_file(root: Path) -> None:
    folders = SetFolders(root / "TrainDataset" / "MINE" / "Imgs", root / "TrainDataset" / "MINE" / "GT")
    before = fingerprint(FolderPairs(folders, "MINE"))
    assert fingerprint(FolderPairs(folders, "MINE")) == before
    mask(root).write_bytes(mask(root).read_bytes() + b" ")
    longer = fingerprint(FolderPairs(folders, "MINE"))
    assert longer != before
    status, content = mask(root).stat(), mask(root).read_bytes()
    mask(root).write_bytes(content[:-1] + b"!")
    os.utime(mask(root), ns=(status.st_atime_ns, status.st_mtime_ns))  # with the same size and date, as after `cp -p`
    assert fingerprint(FolderPairs(folders, "MINE")) != longer


def test_a_cache_folder_that_cannot_be_written_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COS_CACHE", str(image(root)))  # a file
    found: list[str] = []
    assert open_set(root, "train", "MINE", found) is not None
    assert found == []
