"""The benchmark compares like with like."""

import argparse
from pathlib import Path

import pytest
import torch

from scripts import bench_data
from src.data.dataset import COSDataset, COSEvalDataset
from src.data.layouts import locate_set
from src.data.sampler import SeededIndex
from src.data.sources import FolderPairs
from src.data.transforms import resize_only
from src.utils.errors import UserError
from tests.fixtures.folders import write_scenes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "TrainDataset" / "MINE", 4, "n", size=(90, 130))
    return tmp_path


def test_both_sides_give_the_same_tensors(root: Path) -> None:
    folders = locate_set(root, "train", "MINE")
    assert folders is not None
    pairs = FolderPairs(folders, "MINE")
    train, evaluation = COSDataset(pairs, resize_only, 64), COSEvalDataset(pairs, 64)
    for index, name in enumerate(pairs.names):
        image, mask = bench_data.plain_resized(*pairs.paths(name), 64)
        ours = train[SeededIndex(index, 0)]
        assert torch.equal(image, ours["image"])
        assert torch.equal(mask, ours["mask"])
        image, mask = bench_data.plain_evaluation(*pairs.paths(name), 64)
        assert torch.equal(image, evaluation[index]["image"])
        assert torch.equal(mask, evaluation[index]["mask"])


def test_plain_training_augments(root: Path) -> None:
    folders = locate_set(root, "train", "MINE")
    assert folders is not None
    paths = FolderPairs(folders, "MINE").paths("n000")
    images = [bench_data.plain_training(*paths, 64) for _ in range(8)]
    assert len({image.numpy().tobytes() for image, _ in images}) == 8
    assert all(set(mask.unique().tolist()) <= {0.0, 1.0} for _, mask in images)


def test_every_pipeline_gets_a_figure(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COS_CACHE", str(root / "mine"))
    arguments = argparse.Namespace(data_root=root, set="MINE", split="train", size=32, images=2, rounds=1)
    found = bench_data.bench(arguments)
    assert list(found) == ["training, paper recipe", "training, no augmentation", "evaluation"]
    assert all(len(speeds) == 4 and min(speeds.values()) > 0 for speeds in found.values())
    assert "2 images of MINE-Train to 32 px" in capsys.readouterr().out
    assert not (root / "mine").exists()  # it measures in a cache of its own
    with pytest.raises(UserError, match="OTHER"):
        bench_data.bench(argparse.Namespace(**{**vars(arguments), "set": "OTHER"}))
