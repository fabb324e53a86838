"""`python -m src.score`: folders of maps to numbers, and everything that can be wrong with them."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from src.cli.command import CONF
from src.data.maps import read_map
from src.data.readers import read_image, read_mask
from src.metrics import score
from src.score import score_maps_of
from src.utils.errors import UserError
from tests.fixtures.warm_python import run

SIZES = {"ant": (30, 44), "bee": (40, 25), "cat": (36, 36)}


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("score", list(overrides))


def _write(folder: Path, name: str, values: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(folder / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`CAMO/GT`, `CAMO/Imgs`, and the maps of two methods."""
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        mask = np.zeros(size, np.uint8)
        mask[5:20, 8:22] = 255
        _write(tmp_path / "CAMO" / "GT", name, mask)
        _write(tmp_path / "CAMO" / "Imgs", name, rng.integers(0, 255, (*size, 3), dtype=np.uint8))
        for method, noise in (("good", 60), ("bad", 200)):
            noisy = np.clip(mask.astype(float) + rng.normal(0, noise, size), 0, 255)
            _write(tmp_path / "maps" / method / "CAMO", name, noisy.round().astype(np.uint8))
    return tmp_path


def _overrides(root: Path, *more: str) -> list[str]:
    places = [
        f"preds={root / 'maps' / 'good' / 'CAMO'}",
        f"gts={root / 'CAMO' / 'GT'}",
        f"paths.output_dir={root / 'out'}",
    ]
    return [*places, "workers=0", *more]


def _score(root: Path, *more: str) -> Path:
    score_maps_of(config(*_overrides(root, *more)))
    return root / "out"


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8")))


def _problems(root: Path, *more: str) -> str:
    with pytest.raises(UserError) as error:
        _score(root, *more)
    assert not (root / "out").exists()
    assert not [path for path in root.iterdir() if path.name.startswith(".")]
    return str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["field", "raw"])
def test_every_image_gets_the_score_of_its_map(root, protocol):
    out = _score(root, f"metrics.protocol={protocol}", "metrics.extra=[auc]")
    rows = _rows(out / "per_image.csv")
    assert [row["image"] for row in rows] == list(SIZES)
    assert {(row["protocol"], row["method"], row["dataset"]) for row in rows} == {(protocol, "good", "CAMO")}
    for row in rows:
        pred = np.asarray(Image.open(root / "maps/good/CAMO" / f"{row['image']}.png")) / 255
        expected = score(pred, read_mask(root / "CAMO/GT" / f"{row['image']}.png"), protocol, extra=["auc"]).scalars
        assert {name: float(row[name]) for name in expected} == expected
    (measured,) = [row for row in _rows(out / "metrics.csv") if row["numbers"] == "measured"]
    assert float(measured["mae"]) == np.mean([float(row["mae"]) for row in rows])
    assert f"Protocol {protocol}" in (out / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_several_methods_and_sets_from_a_file_whatever_the_workers(root):
    for name in SIZES:
        for kind in ("GT", "Imgs"):
            (root / "NC4K" / kind).mkdir(parents=True, exist_ok=True)
            (root / "NC4K" / kind / f"{name}.png").write_bytes((root / "CAMO" / kind / f"{name}.png").read_bytes())
    spec = "sets: {CAMO: CAMO/GT, NC4K: {gts: NC4K/GT, images: NC4K/Imgs}}\n"
    spec += "methods: {good: 'maps/good/CAMO', bad: {CAMO: maps/bad/CAMO}}\n"
    (root / "spec.yaml").write_text(spec.replace("'maps/good/CAMO'", "{CAMO: maps/good/CAMO, NC4K: maps/good/CAMO}"))
    folders = [root / "one", root / "three"]
    for workers, folder in zip((0, 3), folders, strict=True):
        results = score_maps_of(
            config(f"spec={root / 'spec.yaml'}", f"workers={workers}", f"paths.output_dir={folder}")
        )
        assert {name: [one.method for one in group] for name, group in results.items()} == {
            "CAMO": ["good", "bad"],
            "NC4K": ["good"],
        }
    names = sorted(path.name for path in folders[0].iterdir())
    assert {"report.html", "metrics.tex", "curves_NC4K.pdf", "gallery_CAMO.png", "comparisons.csv"} <= set(names)
    assert names == sorted(path.name for path in folders[1].iterdir())
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_a_pattern_stands_for_every_set(root):
    (root / "spec.yaml").write_text(
        "sets: {CAMO: CAMO/GT}\nmethods: {good: 'maps/good/{set}', bad: 'maps/bad/{set}'}\n"
    )
    results = score_maps_of(config(f"spec={root / 'spec.yaml'}", f"paths.output_dir={root / 'out'}", "workers=0"))
    assert [one.method for one in results["CAMO"]] == ["good", "bad"]
    assert results["CAMO"][0].scalars["mae"] < results["CAMO"][1].scalars["mae"]


def test_a_map_of_another_size_is_resized_as_the_toolboxes_do_and_counted(root):
    path = root / "maps/good/CAMO/bee.png"
    small = np.asarray(Image.open(path))[::2, ::2].copy()
    Image.fromarray(small).save(path)
    out = _score(root)
    target = read_mask(root / "CAMO/GT/bee.png")
    expected = score(cv2.resize(small / 255, target.shape[::-1], interpolation=cv2.INTER_LINEAR), target).scalars
    row = next(row for row in _rows(out / "per_image.csv") if row["image"] == "bee")
    assert float(row["s_alpha"]) == expected["s_alpha"]
    assert "maps of another size than their mask: 1 of good" in (out / "metrics.md").read_text(encoding="utf-8")
    assert _rows(out / "metrics.csv")[0]["resized"] == "1"


@pytest.mark.slow
def test_float_16_bit_and_grey_colour_maps_are_read(root):
    folder = root / "maps/good/CAMO"
    values = {name: np.asarray(Image.open(folder / f"{name}.png")) for name in SIZES}
    before = _rows(_score(root) / "per_image.csv")
    for name in SIZES:
        (folder / f"{name}.png").unlink()
    np.save(folder / "ant.npy", values["ant"] / 255)
    Image.fromarray(values["bee"].astype(np.uint16) * 257).save(folder / "bee.png")
    Image.fromarray(np.repeat(values["cat"][..., None], 3, axis=-1)).save(folder / "cat.png")
    _score(root, f"paths.output_dir={root / 'again'}")
    assert _rows(root / "again" / "per_image.csv") == before


def test_everything_wrong_is_told_at_once_and_nothing_written(root):
    folder, gts = root / "maps/good/CAMO", root / "CAMO/GT"
    (folder / "ant.png").unlink()
    _write(folder, "extra", np.zeros((4, 4), np.uint8))
    _write(folder, "bee", np.random.default_rng(0).integers(0, 255, (40, 25, 3), dtype=np.uint8))
    (folder / "cat.png").write_bytes((folder / "cat.png").read_bytes()[:60])
    for name, value in (("nan", np.nan), ("loud", 1.5), ("logit", -3.0)):
        mask = np.zeros((8, 8), np.uint8)
        _write(gts, name, mask)
        np.save(folder / f"{name}.npy", np.full((8, 8), value))
    text = _problems(root, "metrics.protocol=none", "report.columns=[what]")
    for words in (
        "no map for ant.png",
        "extra.png: no mask for this map",
        "bee.png: a colour image",
        "cat.png: cannot be read",
        "nan.npy: 64 NaN of 64",
        "loud.npy: values from 1.5 to 1.5, outside [0, 1]",
        "logit.npy: values from -3 to -3",
        "metrics.protocol='none'",
        "report.columns: what",
        "9 problems",
    ):
        assert words in text, words


def test_a_file_that_breaks_while_it_is_decoded_is_told_too(root):
    for name in ("ant", "cat"):
        path = root / "maps/good/CAMO" / f"{name}.png"
        whole = bytearray(path.read_bytes())
        whole[60:200] = bytes(140)  # its end marker is intact, its pixels are not
        path.write_bytes(whole)
    text = _problems(root)
    assert "ant.png" in text
    assert "cat.png" in text


def test_empty_and_absent_folders(root):
    (root / "empty").mkdir()
    text = _problems(root, f"preds={root / 'empty'}", f"gts={root / 'nowhere'}")
    assert "empty: holds no file to read" in text
    assert "nowhere: no such folder" in text


def test_images_and_settings_are_checked_before_anything_is_scored(root):
    (root / "CAMO/Imgs/ant.png").unlink()
    (root / "CAMO/Imgs/bee.png").write_bytes(b"no picture")
    (root / "file").touch()
    places = [
        f"images={root / 'CAMO' / 'Imgs'}",
        f"fovs={root / 'nowhere'}",
        f"paths.output_dir={root / 'file' / 'out'}",
    ]
    text = _problems(root, *places, "set=a/b", "workers=-1", "report.digits=9")
    for words in (
        "Imgs: no image for ant.png",
        "bee.png: not a readable image",
        "nowhere: no such folder",
        f"nothing can be written to {root / 'file'}",
        "data set 'a/b'",
        "workers=-1",
        "report.digits=9",
        "7 problems",
    ):
        assert words in text, words


def test_the_camouflage_weighted_context_reads_the_images(root):
    assert "add images=FOLDER" in _problems(root, "metrics.extra=[context_weighted]")
    _score(root, "metrics.extra=[context_weighted]", f"images={root / 'CAMO' / 'Imgs'}")
    row = _rows(root / "out" / "per_image.csv")[1]
    places = [root / "maps/good/CAMO/bee.png", root / "CAMO/GT/bee.png", root / "CAMO/Imgs/bee.png"]
    pred, target, image = read_map(places[0]), read_mask(places[1]), read_image(places[2])
    assert (
        float(row["context_weighted"])
        == score(pred, target, extra=["context_weighted"], image=image).scalars["context_weighted"]
    )


def test_a_report_of_maxima_alone_and_of_names_that_are_no_words(root):
    (root / "spec.yaml").write_text("sets: {CAMO: CAMO/GT}\nmethods: {_a$^$: maps/good/CAMO, b: maps/bad/CAMO}\n")
    score_maps_of(
        config(f"spec={root / 'spec.yaml'}", f"paths.output_dir={root / 'out'}", "workers=0", "report.columns=[f_max]")
    )
    text = (root / "out" / "metrics.md").read_text(encoding="utf-8")
    assert "| _a$^$ | measured here | **" in text
    assert "differences" not in text


def test_doubled_stems(root):
    path = root / "maps/good/CAMO/ant.png"
    Image.open(path).convert("L").save(path.with_suffix(".jpg"))
    assert "the same stem also in ant.png" in _problems(root)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sets: {CAMO: CAMO/GT}", "two mappings"),
        ("just words", "two mappings"),
        ("sets: {A: CAMO/GT, B: CAMO/GT}\nmethods: {m: maps/good}", "lacks {set}"),
        ("sets: {A: {masks: CAMO/GT}}\nmethods: {m: {B: maps}}", "sets.A: expected"),
        ("sets: {A: CAMO/GT}\nmethods: {m: {B: maps}}", "methods.m.B: no such set; there are A"),
        ("sets: [", "cannot be read"),
    ],
)
def test_a_bad_spec_is_explained(root, text, words):
    (root / "spec.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        score_maps_of(config(f"spec={root / 'spec.yaml'}", f"paths.output_dir={root / 'out'}"))
    assert words in str(error.value)
    assert not (root / "out").exists()


def test_fields_of_view_limit_what_is_scored(root):
    for name, size in SIZES.items():
        fov = np.zeros(size, np.uint8)
        fov[:, :15] = 255
        _write(root / "fov", name, fov)
    row = _rows(_score(root, f"fovs={root / 'fov'}") / "per_image.csv")[0]
    pred, target = read_map(root / "maps/good/CAMO/ant.png"), read_mask(root / "CAMO/GT/ant.png")
    assert float(row["iou"]) == score(pred, target, valid=read_mask(root / "fov/ant.png")).scalars["iou"]
    assert float(row["iou"]) != score(pred, target).scalars["iou"]
    assert float(row["object_share"]) == target[:, :15].mean()
    assert "inside the field of view only" in (root / "out" / "metrics.md").read_text(encoding="utf-8")
    _write(root / "fov", "bee", np.zeros((3, 3), np.uint8))
    with pytest.raises(UserError, match=r"bee\.png: 3×3, its mask 40×25"):
        _score(root, f"fovs={root / 'fov'}", f"paths.output_dir={root / 'second'}")
    assert not (root / "second").exists()


@pytest.mark.slow
def test_a_finished_report_is_not_overwritten(root):
    out = _score(root)
    before = (out / "per_image.csv").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        _score(root, "metrics.protocol=raw")
    assert (out / "per_image.csv").read_bytes() == before


def test_names_come_from_the_folders_or_are_given(root):
    results = score_maps_of(config(*_overrides(root, "method=mine", "set=CHAMELEON")))
    assert [(name, one.method) for name, group in results.items() for one in group] == [("CHAMELEON", "mine")]


@pytest.mark.slow
def test_the_command_ends_with_2_and_without_a_traceback(root):
    result = run("src.score", *_overrides(root, "preds=nowhere"))
    assert result.returncode == 2
    assert "nowhere: no such folder" in result.stderr
    assert "Traceback" not in result.stderr
    assert run("src.score").returncode == 2


def _scored(root: Path, *more: str) -> str:
    score_maps_of(config(*_overrides(root, *more)))
    return (root / "out" / "metrics.md").read_text(encoding="utf-8")


def _remade(root: Path, made: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in (root / "maps/good/CAMO").iterdir():
        values = made(np.array(Image.open(path)))
        Image.fromarray(values).save(path)


ODD_MAPS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str, str]] = {
    "0 and 1": (lambda map_: (map_ > 127).astype(np.uint8), "raw", "values 0 and 1 of 255"),
    "per cent": (lambda map_: (map_ / 2.55).round().astype(np.uint8), "raw", "per cent"),
    "8 bits in 16": (lambda map_: map_.astype(np.uint16), "field", "16 bits, but with values up to 240"),
    "nothing": (np.zeros_like, "field", "every map is 0"),
    "inverted": (lambda map_: 255 - map_, "field", "look inverted"),
    "turned": (lambda map_: np.ascontiguousarray(np.rot90(map_)), "field", "look turned by 90°"),
    "turned back": (lambda map_: np.ascontiguousarray(np.rot90(map_, -1)), "field", "look turned by 270°"),
    "mirrored": (lambda map_: np.ascontiguousarray(map_[:, ::-1]), "field", "look mirrored"),
    "upside down": (lambda map_: np.ascontiguousarray(map_[::-1]), "raw", "upside down"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ODD_MAPS)
def test_maps_that_look_like_something_else_are_named(root, kind):
    for name, size in SIZES.items():  # an object in a corner, so that every turn can be seen
        mask = np.zeros(size, np.uint8)
        mask[2:12, 3:20] = 255
        _write(root / "CAMO/GT", name, mask)
        _write(root / "maps/good/CAMO", name, np.where(mask, 240, 10).astype(np.uint8))
    made, protocol, words = ODD_MAPS[kind]
    _remade(root, made)
    with pytest.warns(UserWarning, match=words):
        text = _scored(root, f"metrics.protocol={protocol}", f"paths.output_dir={root / 'out'}")
    assert words in text


def test_sound_maps_are_not_warned_of(root):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "Masks of CAMO: values 0 to 255, object above 127." in _scored(root)


def test_ignored_pixels_are_not_scored(root):
    for name in SIZES:
        path = root / "CAMO/GT" / f"{name}.png"
        labels = (np.array(Image.open(path)) > 0).astype(np.uint8)
        labels[:, 10:14] = 255
        Image.fromarray(labels).save(path)
    assert "ignore_value=255" in _problems(root)
    row = _rows(_score(root, "ignore_value=255") / "per_image.csv")[0]
    pred = read_map(root / "maps/good/CAMO/ant.png")
    labels = np.array(Image.open(root / "CAMO/GT/ant.png"))
    assert float(row["iou"]) == score(pred, labels == 1, valid=labels != 255).scalars["iou"]


def test_sequences_in_subfolders_keep_their_names(root):
    for kind in ("CAMO/GT", "maps/good/CAMO"):
        for sequence in ("one", "two"):
            (root / kind / sequence).mkdir()
            for name in SIZES:
                (root / kind / sequence / f"{name}.png").write_bytes((root / kind / f"{name}.png").read_bytes())
    (root / "maps/good/CAMO/cutout").mkdir()  # what src.predict leaves beside its maps
    (root / "maps/good/CAMO/cutout/ant.png").write_bytes((root / "CAMO/Imgs/ant.png").read_bytes())
    rows = _rows(_score(root) / "per_image.csv")
    assert sorted(row["image"] for row in rows) == sorted(
        [*SIZES, *(f"{one}/{name}" for one in ("one", "two") for name in SIZES)]
    )


def _renamed(folder: Path, pattern: str) -> None:
    for path in list(folder.iterdir()):
        path.rename(folder / (pattern.replace("%s", path.stem) + path.suffix))


@pytest.mark.slow
def test_patterns_pair_what_is_called_otherwise_and_the_message_guesses_them(root):
    expected = _rows(_score(root) / "per_image.csv")
    _renamed(root / "maps/good/CAMO", "%s_sal")
    assert "preds are called %s_sal: add preds_pattern=%s_sal" in _problems_beside(root)
    named = _rows(
        _score(root, "preds_pattern=%s_sal", f"paths.output_dir={root / 'second'}").parent / "second/per_image.csv"
    )
    assert named == expected
    _renamed(root / "CAMO/GT", "seg_%s")
    assert "gts are called seg_%s_sal" not in _problems_beside(root)
    more = ["preds_pattern=%s_sal.png", "gts_pattern=seg_%s", f"paths.output_dir={root / 'third'}"]
    assert _rows(_score(root, *more).parent / "third/per_image.csv") == expected
    spec = "sets: {CAMO: 'CAMO/GT/seg_%s.png'}\nmethods: {good: 'maps/good/{set}/%s_sal'}\n"
    (root / "spec.yaml").write_text(spec)
    score_maps_of(config(f"spec={root / 'spec.yaml'}", f"paths.output_dir={root / 'fourth'}", "workers=0"))
    assert _rows(root / "fourth/per_image.csv") == expected
    with pytest.raises(UserError, match="preds_pattern=_sal: expected a file name with %s"):
        _score(root, "preds_pattern=_sal", f"paths.output_dir={root / 'fifth'}")


def _problems_beside(root: Path) -> str:
    with pytest.raises(UserError) as error:
        _score(root, f"paths.output_dir={root / 'new'}")
    assert not (root / "new").exists()
    return str(error.value)


def test_a_field_of_view_is_no_truth(root):
    for name, (height, width) in SIZES.items():
        fov = np.zeros((height, width), np.uint8)
        fov[1:-1, 1:-1] = 255
        _write(root / "CAMO/GT", name, fov)
    assert "a field of view, and not the objects" in _problems(root)
