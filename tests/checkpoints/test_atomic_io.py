"""Checkpoints survive killed writes, full disks and damage."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from src.checkpoints import atomic_io as checkpoint_io
from src.checkpoints.atomic_io import AtomicCheckpointIO, remove_leftovers, writable
from src.checkpoints.finding import resolve_checkpoint
from src.utils.errors import UserError
from tests.fixtures.warm_python import run

KILLED_WRITE = """
import os, signal, sys, torch
from pathlib import Path
from src.checkpoints import atomic_io as checkpoint_io
write = checkpoint_io._write
def half(path, content):
    write(path, content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
checkpoint_io._write = half
checkpoint_io.AtomicCheckpointIO().save_checkpoint({"value": torch.ones(1000)}, Path(sys.argv[1]))
"""


def save(path: Path, value: float, when: int = 0) -> Path:
    config = {"model": {}, "data": {}}
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.full((1000,), value)}, "config": config}, path)
    os.utime(path, (when, when))
    return path


def stored(path: Path) -> float:
    return float(torch.load(path, weights_only=True)["state_dict"]["w"][0])


@pytest.mark.slow
def test_a_write_killed_half_way_leaves_the_old_checkpoint(tmp_path):
    path = save(tmp_path / "last.ckpt", 1.0)
    killed = run("-c", KILLED_WRITE, str(path))
    assert killed.returncode == -9
    assert stored(path) == 1.0
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_full_disk_leaves_the_last_good_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    path = save(tmp_path / "last.ckpt", 1.0)

    def full(path: Path, content: memoryview) -> None:
        path.write_bytes(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint_io, "_write", full)
    with pytest.raises(UserError, match=r"No space left on device .*last\.ckpt.*ckpt_path=last"):
        save(path, 2.0)
    assert stored(path) == 1.0
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Not a directory"):
        save(tmp_path / "file" / "checkpoints" / "last.ckpt", 1.0)
    with pytest.raises(UserError, match=r"paths\.output_dir"), writable(tmp_path):
        (tmp_path / "file" / "run").mkdir()
    with pytest.raises(FileNotFoundError), writable(tmp_path):
        (tmp_path / "nothing").read_text()


def test_last_is_the_newest_that_can_be_resumed(tmp_path):
    folder = tmp_path / "checkpoints"
    for when, name in enumerate(["last.ckpt", "step.ckpt", "best.ckpt"]):
        save(folder / name, 1.0, when)
    assert resolve_checkpoint("last", tmp_path) == folder / "step.ckpt"
    os.utime(folder / "last.ckpt", (9, 9))
    assert resolve_checkpoint("last", tmp_path) == folder / "last.ckpt"


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "text"])
def test_a_broken_newest_falls_back_to_the_one_before(damage, tmp_path):
    folder = tmp_path / "checkpoints"
    save(folder / "last.ckpt", 1.0, when=1)
    broken = save(folder / "step.ckpt", 2.0, when=2)
    content = bytearray(broken.read_bytes())
    middle = content.index(torch.full((100,), 2.0).numpy().tobytes()) + 50
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    broken.write_bytes({"cut": content[:-100], "bit": flipped, "empty": b"", "text": b"no checkpoint"}[damage])
    os.utime(broken, (2, 2))
    with pytest.warns(UserWarning, match=r"step\.ckpt is broken"):
        assert resolve_checkpoint("last", tmp_path) == folder / "last.ckpt"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nothing_whole(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"")
    with pytest.raises(UserError, match="checkpoints"):
        resolve_checkpoint("last", tmp_path)
