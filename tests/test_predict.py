"""`predict`: from a network and pictures to files, for every kind of input and for everything that can go wrong."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from src.data.readers import read_image
from src.inference.job import PredictionJob
from src.inference.predictor import Predictor
from src.predict import INTERRUPTED_STATUS, SKIPPED_STATUS, main, predict
from src.report.figures.figure import DPI
from src.report.figures.unfolding import INCHES
from src.utils.errors import UserError
from tests.fixtures.red_onnx import METADATA, write_red_onnx
from tests.fixtures.tiny import ROOT, config
from tests.fixtures.tiny_network import write_tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A seeded, untrained RUN of two stages with a closing step."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("network") / "tiny.ckpt", num_stages=2, closing_step=True)


@pytest.fixture
def run(checkpoint, tmp_path):
    """Predict with the tiny network from ``in`` to ``out``, with further settings."""

    def run(*overrides):
        places = [f"ckpt_path={checkpoint}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}", "device=cpu"]
        return predict(config("predict", *places, *overrides))

    return run


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder with a few pictures, one of them in a subfolder."""
    noise = np.random.default_rng(0)
    for name, size in (("a.png", (40, 60)), ("b.jpg", (33, 50)), ("birds/c.png", (1, 1))):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / "in" / name)
    return tmp_path / "in"


def tree(folder: Path) -> list[str]:
    """Return all files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_maps_are_those_of_the_predictor(run, pictures, checkpoint, tmp_path):
    report = run("batch_size=3")
    assert [path.name for path in report.written] == ["a.png", "b.png"]
    assert tree(tmp_path / "out") == ["a.png", "b.png"]
    for path, name in zip(report.written, ("a.png", "b.jpg"), strict=True):
        with Image.open(path) as map_:
            assert map_.mode == "L"
            difference = np.asarray(map_).astype(int) - Predictor(checkpoint, device="cpu")(pictures / name).mask8
        assert np.abs(difference).max() <= 1


def test_every_type_has_its_place_and_the_tree_is_kept(run, pictures, tmp_path):
    run("recursive=true", "type=[map,cutout,on,json]", "overlay=true", "background=[1,2,3]", "threshold=0.999")
    names = ["a", "b", "birds/c"]
    kinds = {"": "png", "cutout/": "png", "overlay/": "png", "on/": "png", "json/": "json"}
    assert tree(tmp_path / "out") == sorted(
        f"{folder}{name}.{suffix}" for folder, suffix in kinds.items() for name in names
    )
    image = read_image(pictures / "a.png")
    cutout = np.asarray(Image.open(tmp_path / "out" / "cutout" / "a.png"))
    np.testing.assert_array_equal(cutout[..., :3], image)
    assert not cutout[..., 3].any(), "nothing is as sure as 0.999"
    assert (np.asarray(Image.open(tmp_path / "out" / "on" / "a.png")) == [1, 2, 3]).all()
    assert json.loads((tmp_path / "out" / "json" / "a.json").read_text())["images"][0]["file_name"] == "a.png"
    assert Image.open(tmp_path / "out" / "birds" / "c.png").size == (1, 1)


@pytest.mark.slow
def test_webp_and_pictures_as_backgrounds(run, pictures, tmp_path):
    Image.new("RGB", (9, 9), (200, 0, 0)).save(tmp_path / "red.png")
    run("type=[map,on]", "format=webp", f"background={tmp_path / 'red.png'}", "threshold=0.999")
    assert tree(tmp_path / "out") == ["a.webp", "b.webp", "on/a.webp", "on/b.webp"]
    assert (
        np.abs(
            np.asarray(Image.open(tmp_path / "out" / "on" / "a.webp").convert("RGB")) - np.array([200.0, 0, 0])
        ).max()
        < 8
    )


def test_pictures_of_every_kind(run, tmp_path):
    (tmp_path / "in").mkdir()
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    colour.convert("L").save(tmp_path / "in" / "grey.png")
    colour.convert("RGBA").save(tmp_path / "in" / "rgba.png")
    Image.fromarray(np.asarray(colour.convert("L")).astype(np.uint16) * 257).save(tmp_path / "in" / "deep.png")
    colour.convert("CMYK").save(tmp_path / "in" / "cmyk.jpg")
    colour.save(tmp_path / "in" / "turned.jpg", exif=turned)
    for path in run().written:
        assert Image.open(path).size == ((20, 30) if path.stem == "turned" else (30, 20))


def test_existing_files_are_kept_replaced_or_completed(run, pictures, tmp_path):
    run()
    whole = (tmp_path / "out" / "a.png").read_bytes()
    with pytest.raises(UserError, match="overwrite=true, or overwrite=missing"):
        run()
    (tmp_path / "out" / "a.png").write_bytes(b"old")
    (tmp_path / "out" / "b.png").unlink()
    report = run("overwrite=missing")
    assert (report.pictures, report.kept) == (1, 1)
    assert (tmp_path / "out" / "a.png").read_bytes() == b"old"
    assert run("overwrite=true").pictures == 2
    assert (tmp_path / "out" / "a.png").read_bytes() == whole


def test_an_interrupted_prediction_is_resumed(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    for i in range(8):
        Image.new("RGB", (20, 20), (i, 0, 0)).save(tmp_path / "in" / f"{i}.png")
    write, written = PredictionJob.write, []

    def interrupt(*arguments):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(arguments)
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(PredictionJob, "write", interrupt)
        with pytest.raises(SystemExit) as stopped:
            run()
    assert stopped.value.code == INTERRUPTED_STATUS
    assert "overwrite=missing" in capsys.readouterr().err
    assert len(tree(tmp_path / "out")) == 3
    report = run("overwrite=missing")
    assert (report.kept, report.pictures) == (3, 5)
    assert tree(tmp_path / "out") == [f"{i}.png" for i in range(8)]


def test_a_resumed_prediction_opens_only_what_is_missing(run, pictures, tmp_path):
    run()
    (pictures / "a.png").write_bytes(b"broken meanwhile")
    (tmp_path / "out" / "b.png").write_bytes(b"")  # what a power cut leaves
    (pictures / "new.jpg").write_bytes(b"no picture")
    report = run("overwrite=missing", "on_error=skip")
    assert (report.kept, report.pictures, len(report.skipped)) == (1, 1, 1)
    assert [path.name for path in report.written] == ["a.png", "b.png"]
    assert (tmp_path / "out" / "b.png").stat().st_size > 0


def test_unreadable_files_stop_or_are_listed(run, pictures, tmp_path):
    (pictures / "broken.jpg").write_bytes(b"no picture")
    cut = (pictures / "b.jpg").read_bytes()
    (pictures / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    with pytest.raises(UserError, match="nothing was predicted") as error:
        run()
    assert [Path(problem.partition(":")[0]).name for problem in error.value.problems] == ["broken.jpg", "cut.jpg"]
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"broken\.jpg"):  # a stream cannot leave its only picture out
        run("on_error=skip", f"input={pictures / 'broken.jpg'}", "output=-")
    report = run("on_error=skip")
    assert [Path(line.partition(":")[0]).name for line in report.skipped] == ["broken.jpg", "cut.jpg"]
    assert tree(tmp_path / "out") == ["a.png", "b.png"]


def test_a_picture_that_breaks_while_it_is_decoded(run, pictures, tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(pictures / "damaged.png")
    content = bytearray((pictures / "damaged.png").read_bytes())
    content[2000:2100] = bytes(100)
    (pictures / "damaged.png").write_bytes(content)
    with pytest.raises(UserError, match=r"damaged\.png: cannot be read"):
        run("overwrite=true")
    report = run("overwrite=true", "on_error=skip")
    assert ["damaged.png" in line for line in report.skipped] == [True]
    assert report.pictures == 2


def test_no_output_replaces_an_input(run, pictures, tmp_path):
    before = (pictures / "a.png").read_bytes()
    with pytest.raises(UserError, match=r"a\.png is an input; choose another folder"):
        run(f"output={pictures}", "overwrite=true")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(pictures / "a.png")
    with pytest.raises(UserError, match=r"a\.png is an input"):
        run("overwrite=true")
    assert (pictures / "a.png").read_bytes() == before


def test_mistakes_are_reported_together_and_first(run, pictures):
    with pytest.raises(UserError) as error:
        run(
            "type=[maps]",
            "threshold=1.5",
            "rounds=0",
            "background=[1,2]",
            "batch_size=0",
            "data.image_size=8",
            "format=gif",
        )
    keys = [problem.partition("=")[0].partition(":")[0] for problem in error.value.problems]
    assert sorted(keys) == ["background", "batch_size", "format", "image_size", "rounds", "threshold", "type"]
    with pytest.raises(UserError, match=r"(?s)no file or folder none\.ckpt.*no file or folder nowhere"):
        run("ckpt_path=none.ckpt", "input=nowhere")
    with pytest.raises(UserError, match="no such file"):
        run("type=on", "background=beach.png")


def test_boxes_and_maps_are_heard(run, pictures, checkpoint, tmp_path):
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\na.png,10,5,50,30\n")
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.full((33, 50), 255, np.uint8)).save(tmp_path / "maps" / "b.png")
    run(f"boxes={tmp_path / 'boxes.csv'}", f"prompts={tmp_path / 'maps'}", "trust=0.8")
    predictor = Predictor(checkpoint, device="cpu")
    expected = {"a": {"box": (10, 5, 50, 30)}, "b": {"mask": np.ones((33, 50), bool)}}
    for (name, said), picture in zip(expected.items(), ("a.png", "b.jpg"), strict=True):
        map_ = np.asarray(Image.open(tmp_path / "out" / f"{name}.png")).astype(int)
        assert np.abs(map_ - predictor(pictures / picture, **said, trust=0.8).mask8).max() <= 1
        assert np.abs(map_ - predictor(pictures / picture).mask8).max() > 20


def test_what_is_said_of_no_picture_or_to_a_deaf_network_is_told_first(run, pictures, tmp_path):
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\na.png,10,5,61,30\nz.png,0,0,1,1\n")
    with pytest.raises(
        UserError, match=r"(?s)boxes\.csv names z\.png, and input=.*a\.png: box=.*reaches out.*stages=true"
    ):
        run(f"boxes={tmp_path / 'boxes.csv'}", "stages=true")
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\na.png,10,5,50,30\n")
    deaf = write_tiny_checkpoint(tmp_path / "fpn.ckpt", "fpn.FPN")
    with pytest.raises(UserError, match="takes no box"):
        run(f"boxes={tmp_path / 'boxes.csv'}", f"ckpt_path={deaf}")
    assert not (tmp_path / "out").exists()
    (tmp_path / "maps").mkdir()
    Image.new("L", (60, 40)).save(tmp_path / "maps" / "a.png")
    with pytest.raises(UserError, match=r"a\.png is an input"):
        run(f"prompts={tmp_path / 'maps'}", f"output={tmp_path / 'maps'}", "overwrite=true")


def test_two_pictures_of_one_name(run, pictures):
    shutil.copy(pictures / "b.jpg", pictures / "a.jpg")
    with pytest.raises(UserError, match=r"a\.jpg and .*a\.png would both be written to"):
        run()


def write_film(path: Path) -> None:
    """Write three seconds of noise at ten frames per second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    noise = np.random.default_rng(0)
    for _ in range(30):
        writer.write(noise.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()


@pytest.mark.slow
def test_a_video_becomes_videos_of_the_same_length(run, tmp_path, capsys):
    write_film(tmp_path / "in" / "film.avi")
    report = run("overlay=true")
    assert (report.pictures, report.written) == (30, [tmp_path / "out" / "film.mp4"])
    assert tree(tmp_path / "out") == ["film.mp4", "overlay/film.mp4"]
    assert "without sound" in capsys.readouterr().out
    for path in (tmp_path / "out").rglob("*.mp4"):
        capture = cv2.VideoCapture(str(path))
        found = [
            int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_WIDTH)
        ]
        assert found == [30, 10, 64]
    with pytest.raises(UserError, match=r"no video holds type=cutout,json; frames=true"):
        run("type=[map,cutout,json]", "overwrite=true")


@pytest.mark.slow
def test_a_video_becomes_frames_and_is_resumed(run, tmp_path):
    write_film(tmp_path / "in" / "film.avi")
    run("frames=true", "type=[map,json]")
    frames = [f"film/{number:06d}.png" for number in range(1, 31)]
    assert tree(tmp_path / "out") == sorted([*frames, "film/times.csv", *(f"json/{name[:-3]}json" for name in frames)])
    times = (tmp_path / "out" / "film" / "times.csv").read_text().splitlines()
    assert (times[0], times[1], times[30]) == ("frame,seconds", "1,0.000000", "30,2.900000")
    (tmp_path / "out" / "film" / "times.csv").unlink()
    (tmp_path / "out" / frames[4]).unlink()
    (tmp_path / "out" / frames[5]).write_bytes(b"kept")
    run("frames=true", "type=[map,json]", "overwrite=missing")
    assert Image.open(tmp_path / "out" / frames[4]).size == (64, 48)
    assert (tmp_path / "out" / frames[5]).read_bytes() == b"kept"
    assert run("frames=true", "type=[map,json]", "overwrite=missing").kept == 1


@pytest.mark.slow
def test_a_truncated_video(run, tmp_path):
    write_film(tmp_path / "in" / "film.avi")
    content = (tmp_path / "in" / "film.avi").read_bytes()
    (tmp_path / "in" / "film.avi").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"ends after \d+ of 30 frames; it is cut short; on_error=skip keeps"):
        run()
    assert tree(tmp_path / "out") == []
    report = run("on_error=skip")
    assert "it is cut short" in report.skipped[0]
    assert 5 < report.pictures < 29
    assert tree(tmp_path / "out") == ["film.mp4"]


@pytest.mark.slow
def test_stages_are_drawn(run, pictures, tmp_path):
    """One row per stage; thirteen pictures: the image, two masks, the step and its four parts, w, R, E, B, Ĉ."""
    run(f"input={pictures / 'a.png'}", "stages=true")
    assert tree(tmp_path / "out") == ["a.png", "stages/a.png"]
    with Image.open(tmp_path / "out" / "stages" / "a.png") as drawn:
        columns, rows = (
            round(side / DPI / INCHES - margin) for side, margin in zip(drawn.size, (0.2, 0.4), strict=True)
        )
    assert (columns, rows) == (13, 3)  # two stages and the closing step


def test_stages_of_a_network_without_any(pictures, tmp_path):
    checkpoint = write_tiny_checkpoint(tmp_path / "fpn.ckpt", "fpn.FPN")
    places = [f"ckpt_path={checkpoint}", f"input={pictures}", f"output={tmp_path / 'out'}", "device=cpu"]
    with pytest.raises(UserError, match="stages=true: FPN has no stages to draw"):
        predict(config("predict", *places, "stages=true"))


def test_an_onnx_file_is_read_too(pictures, tmp_path):
    path = write_red_onnx(tmp_path / "red.onnx", METADATA)
    report = predict(config("predict", f"ckpt_path={path}", f"input={pictures}", f"output={tmp_path / 'out'}"))
    assert len(report.written) == 2
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "out" / "a.png")), read_image(pictures / "a.png")[..., 0]
    )


def test_the_command_returns_3_where_files_were_skipped(checkpoint, pictures, tmp_path, monkeypatch):
    (pictures / "broken.jpg").write_bytes(b"no picture")
    places = [f"ckpt_path={checkpoint}", f"input={pictures}", f"output={tmp_path / 'out'}", "device=cpu"]
    monkeypatch.setattr(sys, "argv", ["predict", *places, "on_error=skip"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == SKIPPED_STATUS


@pytest.mark.slow
def test_standard_input_to_standard_output(checkpoint, pictures):
    content = (pictures / "a.png").read_bytes()
    command = [
        sys.executable,
        "-m",
        "src.predict",
        f"ckpt_path={checkpoint}",
        "input=-",
        "output=-",
        "type=cutout",
        "device=cpu",
    ]
    done = subprocess.run(command, cwd=ROOT, input=content, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    with Image.open(io.BytesIO(done.stdout)) as cutout:
        assert (cutout.mode, cutout.size) == ("RGBA", (60, 40))


def test_standard_output_takes_one_picture_of_one_type(run, pictures):
    with pytest.raises(UserError) as error:
        run("output=-", "type=[map,json]")
    assert [
        words in problem for words, problem in zip(("one type", "one picture"), error.value.problems, strict=True)
    ] == [True, True]
