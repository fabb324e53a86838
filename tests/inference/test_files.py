"""Sources, outputs and videos, without a command line."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.inference.inputs import Source, find_sources
from src.inference.outputs import Outputs
from src.inference.video import VideoReader, VideoWriter
from src.inference.workers import Room, in_order
from src.utils.errors import UserError
from src.utils.protected import Protected


def touch(folder: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(*arguments, **options) -> list[str]:
    """Return the names of the pictures that an input stands for."""
    return [source.name for source in find_sources(*arguments, **options)]


def test_folders_patterns_and_lists(tmp_path):
    touch(
        tmp_path,
        "b.png",
        "a.JPG",
        "c.mp4",
        ".hidden.png",
        "notes.md",
        "birds/wren.jpg",
        "birds/deep/tit.jpg",
        "out/a.png",
    )
    assert names(str(tmp_path)) == ["a", "b", "c"]
    assert names(str(tmp_path), recursive=True, without=tmp_path / "out") == [
        "a",
        "b",
        "birds/deep/tit",
        "birds/wren",
        "c",
    ]
    assert names(str(tmp_path / "birds" / "**" / "*.jpg")) == ["deep/tit", "wren"]
    assert names(str(tmp_path / "*.png")) == ["b"]
    assert names(str(tmp_path / "birds" / "wren.jpg")) == ["wren"]
    (tmp_path / "list.txt").write_text("# mine\nbirds/wren.jpg\n\nb.png\n")
    assert find_sources(str(tmp_path / "list.txt")) == [
        Source("wren", tmp_path / "birds" / "wren.jpg"),
        Source("b", tmp_path / "b.png"),
    ]
    assert find_sources("-") == [Source("stdin", None)]


def test_a_folder_whose_name_could_be_a_pattern(tmp_path):
    touch(tmp_path / "[1] *", "a.png", "b.jpg")
    assert names(str(tmp_path / "[1] *" / "*.png")) == ["a"]
    assert names(str(tmp_path / "[1] *")) == ["a", "b"]


def test_inputs_that_are_not_there(tmp_path):
    touch(tmp_path, "notes.md", "deep/a.png")
    (tmp_path / "list.txt").write_text("gone.png\ndeep/a.png\nlost.png\n")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    for text, words in (
        (tmp_path, r"holds no image .*not in subfolders: recursive=true"),
        (tmp_path / "none", "there is no file or folder"),
        (tmp_path / "*.jpg", "matches no image"),
        (tmp_path / "empty.txt", "lists no file"),
    ):
        with pytest.raises(UserError, match=words):
            find_sources(str(text))
    with pytest.raises(UserError) as error:
        find_sources(str(tmp_path / "list.txt"))
    assert [Path(problem).name for problem in error.value.problems] == ["gone.png", "lost.png"]


def test_where_outputs_go(tmp_path):
    outputs = Outputs(tmp_path, ("map", "cutout", "json", "stages"), "webp")
    paths = outputs.paths(Source("birds/wren", Path("wren.jpg")))
    found = {kind: path.relative_to(tmp_path).as_posix() for kind, path in paths.items()}
    assert found == {
        "map": "birds/wren.webp",
        "cutout": "cutout/birds/wren.webp",
        "json": "json/birds/wren.json",
        "stages": "stages/birds/wren.png",
    }
    film = Source("film", Path("film.mov"))
    assert Outputs(tmp_path, ("overlay",)).paths(film) == {"overlay": tmp_path / "overlay" / "film.mp4"}
    assert Outputs(tmp_path, ("map",), frames=True).paths(film) == {"map": tmp_path / "film"}


def test_an_input_is_found_under_any_of_its_names(tmp_path):
    touch(tmp_path, "in/photo.png", "elsewhere")
    photo = tmp_path / "in" / "photo.png"
    os.link(photo, tmp_path / "hard.png")
    (tmp_path / "soft.png").symlink_to(photo)
    (tmp_path / "folder").symlink_to(tmp_path / "in")
    protected = Protected([photo])
    for name in ("in/photo.png", "hard.png", "soft.png", "folder/photo.png", "in/../in/photo.png", "in/PHOTO.PNG"):
        assert protected.holds(tmp_path / name), name
    for name in ("elsewhere", "photo.png", "in/photo.jpg"):
        assert not protected.holds(tmp_path / name), name
    outputs = Outputs(tmp_path, ("map",), protected=protected)
    with pytest.raises(UserError, match=r"hard\.png is an input"):
        outputs.write(tmp_path / "hard.png", b"")
    assert "is an input" in outputs.problems([Source("in/photo", photo)], overwrite=True)[0]


def test_outputs_in_the_way_and_shared(tmp_path):
    outputs = Outputs(tmp_path / "out", ("map", "overlay"))
    sources = [Source("a", Path("a.png")), Source("A", Path("A.jpg")), Source("overlay/a", Path("overlay/a.png"))]
    problems = outputs.problems(sources, overwrite=False)
    assert problems[:2] == [
        f"input: a.png and A.jpg would both be written to {tmp_path / 'out' / 'A.png'}",
        f"input: a.png and A.jpg would both be written to {tmp_path / 'out' / 'overlay' / 'A.png'}",
    ]
    assert (
        problems[2]
        == f"input: a.png and overlay/a.png would both be written to {tmp_path / 'out' / 'overlay' / 'a.png'}"
    )
    touch(tmp_path, "out/a.png", "file")
    assert "a.png exists (1 such files)" in outputs.problems(sources[:1], overwrite=False)[0]
    assert outputs.problems(sources[:1], overwrite=True) == []
    assert "is a file; name a folder" in Outputs(tmp_path / "file", ("map",)).problems(sources[:1], overwrite=True)[0]


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"a\.png cannot be written: No space left on device; .*overwrite=missing"):
        Outputs(tmp_path, ("map",)).write(tmp_path / "a.png", b"")
    assert list(tmp_path.iterdir()) == []


def film(path: Path, count: int = 30, rate: float = 10.0, codec: str = "MJPG") -> Path:
    """Write a video whose frames grow brighter."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, (64, 48))
    for i in range(count):
        writer.write(np.full((48, 64, 3), 8 * i, np.uint8))
    writer.release()
    return path


def test_a_video_is_read_with_its_times(tmp_path):
    reader = VideoReader(film(tmp_path / "film.avi"))
    frames = list(reader)
    assert (reader.header.rate, reader.header.count, len(frames)) == (10, 30, 30)
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(30) / 10, atol=1e-6)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 8 * np.arange(30), atol=2)
    assert reader.shortage() is None


def test_a_truncated_video_says_so(tmp_path):
    whole = film(tmp_path / "film.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    reader = VideoReader(tmp_path / "cut.avi")
    assert len(list(reader)) < 29
    assert f"ends after {reader.read} of 30 frames" in str(reader.shortage())
    whole = film(tmp_path / "film.mp4", codec="mp4v").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.mp4: cannot be opened as a video"):
        VideoReader(tmp_path / "cut.mp4")


def test_a_written_video_keeps_times_of_uneven_frames(tmp_path):
    levels = {0.0: 20, 0.1: 60, 0.5: 140, 0.52: 180, 0.6: 220}
    with VideoWriter(tmp_path / "film.mp4", 10) as writer:
        for seconds, level in levels.items():
            writer.add(np.full((48, 64), level, np.uint8), seconds)
    frames = [frame.image.mean() for frame in VideoReader(tmp_path / "film.mp4")]
    np.testing.assert_allclose(frames, [20, 60, 140, 140, 140, 140, 220], atol=4)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_video_that_fails_leaves_nothing(tmp_path):
    def write(interrupted: bool) -> None:
        with VideoWriter(tmp_path / "film.mp4", 10) as writer:
            writer.add(np.zeros((48, 64), np.uint8), 0)
            if interrupted:
                raise KeyboardInterrupt
            writer._count += 10  # as if the disk had taken one frame of eleven

    with pytest.raises(KeyboardInterrupt):
        write(interrupted=True)
    with pytest.raises(UserError, match="1 of 11 frames could be written; is the disk full"):
        write(interrupted=False)
    assert list(tmp_path.iterdir()) == []


def test_results_come_in_order_whatever_takes_long():
    def slow_first(item: int) -> int:
        time.sleep(0.05 if item == 0 else 0)
        return item

    assert list(in_order(slow_first, range(20), workers=3)) == list(range(20))


def test_a_room_is_never_overfull():
    room, held, most, lock = Room(10), 0, 0, threading.Lock()

    def hold(amount: int) -> None:
        nonlocal held, most
        with room.taken(amount):
            with lock:
                held += amount
                most = max(most, held) if held != 25 else most
            time.sleep(0.001)
            with lock:
                held -= amount

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, [3, 4, 5, 25, 2, 6, 9, 1] * 5))
    assert 0 < most <= 10


def test_what_is_left_out_of_a_folder_is_named(tmp_path):
    touch(tmp_path, "a.jfif", "b.avif", "c.TGA", "d.heic", "e.heic", "Thumbs.db", "deep/f.png")
    with pytest.warns(UserWarning, match=r"2 \.heic \(d\.heic …\)|subfolders are left out") as told:
        assert names(str(tmp_path)) == ["a", "b", "c"]
    assert len(told) == 2
    with pytest.warns(UserWarning, match=r"2 \.heic"):
        assert names(str(tmp_path), recursive=True) == ["a", "b", "c", "deep/f"]


def test_a_list_of_sequences_keeps_their_folders(tmp_path):
    touch(tmp_path, "one/0001.png", "two/0001.png")
    (tmp_path / "list.txt").write_text("one/0001.png\ntwo/0001.png\n")
    assert names(str(tmp_path / "list.txt")) == ["one/0001", "two/0001"]


def test_a_lists_names_stay_inside_the_output(tmp_path, monkeypatch):
    touch(tmp_path, "one/0001.png", "lists/two/0001.png")
    (tmp_path / "lists" / "list.txt").write_text(f"../one/0001.png\n{tmp_path}/lists/two/0001.png\n")
    monkeypatch.chdir(tmp_path)
    assert names("lists/list.txt") == ["one/0001", "lists/two/0001"]
