"""The Predictor: a mask in three lines, of any source, without the libraries of training."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from src.checkpoints.network import load_network
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.weights_file import export_bytes
from src.data.pillow_resize import resize_bilinear
from src.inference.predictor import Predictor
from src.inference.torch_network import TorchNetwork
from src.models.outputs import masks_at_size
from src.models.variant import Variant
from src.models.wrappers import apply_variant
from src.utils.errors import UserError
from tests.fixtures.tiny import ROOT
from tests.fixtures.tiny_network import IMAGE_SIZE, write_tiny_checkpoint

BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("lightning", "pytorch_lightning", "torchmetrics", "hydra", "albumentations"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
from src.inference.predictor import Predictor
result = Predictor(sys.argv[1], device="cpu")(sys.argv[2])
print(result.mask.shape, result.cutout().shape, result.overlay().shape, result.on("blur").shape, len(result.to_json()))
"""


def step_by_step(checkpoint, picture, rounds=1):
    """Return the mask of an array as the parts of the project compute it, one after the other."""
    net, _ = load_network(checkpoint)
    small = resize_bilinear(picture, IMAGE_SIZE, IMAGE_SIZE).transpose(2, 0, 1)
    image = torch.from_numpy(small.astype(np.float32) / 255)[None].contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        logits = apply_variant(net, Variant(rounds=rounds))(image).mask_logits
    return masks_at_size(logits, [torch.empty(picture.shape[:2])])[0].numpy()


def test_a_picture_as_path_bytes_image_and_array(predictor, tiny_checkpoint, photograph, tmp_path):
    Image.fromarray(photograph).save(tmp_path / "moth.png")
    expected = step_by_step(tiny_checkpoint, photograph)
    assert expected.std() > 1e-4, "a constant mask would say nothing"
    for source in (
        tmp_path / "moth.png",
        (tmp_path / "moth.png").read_bytes(),
        Image.fromarray(photograph),
        photograph,
    ):
        result = predictor(source)
        np.testing.assert_allclose(result.mask, expected, atol=1e-5)
        assert np.abs(result.mask8 - 255 * expected).max() <= 1
        np.testing.assert_array_equal(result.image, photograph)
        assert result.seconds > 0


def test_lists_and_folders_come_in_order(predictor, photograph, tmp_path):
    for name, picture in (("b.png", photograph), ("a.jpg", photograph[::-1]), (".hidden.png", photograph)):
        Image.fromarray(picture).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    folder, listed = predictor(tmp_path), predictor([tmp_path / "a.jpg", tmp_path / "b.png"])
    assert [result.name for result in folder] == [result.name for result in listed] == ["a.jpg", "b.png"]
    for one, other in zip(folder, listed, strict=True):
        np.testing.assert_array_equal(one.mask8, other.mask8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no picture"):
        predictor(tmp_path / "empty")


def test_a_stream_may_be_endless(predictor, photograph):
    taken = 0

    def pictures():
        nonlocal taken
        for shift in itertools.count():
            taken += 1
            yield np.roll(photograph, shift, axis=1)

    torch.set_num_threads(threads := 2)
    stream = predictor.stream(pictures(), workers=2)
    first = [next(stream) for _ in range(5)]
    stream.close()
    assert taken <= 5 + 3
    for shift, result in enumerate(first):
        np.testing.assert_allclose(result.mask, predictor(np.roll(photograph, shift, axis=1)).mask, atol=1e-5)
    assert torch.get_num_threads() == threads
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("picture")]


def test_an_unreadable_picture_ends_a_stream_in_its_turn(predictor, photograph):
    stream = predictor.stream([photograph, b"no picture", photograph])
    assert next(stream).image.shape == photograph.shape
    with pytest.raises(UserError, match="not a readable image"):
        next(stream)


def test_one_network_serves_many_threads(predictor, photograph):
    expected = predictor(photograph).mask8
    with ThreadPoolExecutor(4) as pool:
        for mask in pool.map(lambda _: predictor(photograph).mask8, range(12)):
            np.testing.assert_array_equal(mask, expected)


@pytest.mark.slow
def test_options_change_how_the_network_runs(tiny_checkpoint, photograph):
    plain = Predictor(tiny_checkpoint, device="cpu")(photograph).mask
    twice = Predictor(tiny_checkpoint, device="cpu", rounds=2)(photograph).mask
    np.testing.assert_allclose(twice, step_by_step(tiny_checkpoint, photograph, rounds=2), atol=1e-5)
    flipped = Predictor(tiny_checkpoint, device="cpu", flip=True)
    np.testing.assert_allclose(flipped(photograph[:, ::-1]).mask, flipped(photograph).mask[:, ::-1], atol=0.01)
    assert np.abs(flipped(photograph).mask - plain).max() > 1e-4
    sharper = Predictor(tiny_checkpoint, device="cpu", sharpness=2)(photograph).mask
    assert (np.abs(sharper - 0.5) >= np.abs(plain - 0.5) - 1e-6).all()
    assert np.abs(Predictor(tiny_checkpoint, device="cpu", closing_step=False)(photograph).mask - plain).max() > 1e-4
    assert Predictor(tiny_checkpoint, device="cpu", image_size=96).network.image_size == 96
    half = Predictor(tiny_checkpoint, device="cpu", half=True)(photograph).mask
    assert 0 < np.abs(half - plain).max() < 0.1


def test_a_pictures_batch_is_cut_out_of_memory_first(predictor, photograph):
    prepared = predictor.prepare(photograph, keep_image=False)
    (result,) = predictor.run([prepared])
    np.testing.assert_array_equal(result.mask8, predictor(photograph).mask8)
    assert not result.image.any()


def test_weights_and_folders_are_opened_too(tiny_checkpoint, photograph, tmp_path):
    checkpoint = read_checkpoint(tiny_checkpoint)
    (tmp_path / "model.safetensors").write_bytes(export_bytes(checkpoint, tiny_checkpoint))
    opened = Predictor(tmp_path, device="cpu")
    assert opened.network.note == "research use, trained on synthetic"
    assert opened.network.config["data"]["image_size"] == IMAGE_SIZE
    np.testing.assert_array_equal(
        opened(photograph).mask8, Predictor(tmp_path / "model.safetensors", device="cpu")(photograph).mask8
    )


def test_sources_that_are_no_network(tmp_path, tiny_checkpoint):
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "weights.zip").write_bytes(b"")
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "foreign.ckpt")
    for name in ("a.ckpt", "b.ckpt"):
        (tmp_path / "two" / name).touch()
    cases = {
        "none.ckpt": "no file or folder",
        "empty": r"holds no network \(looked for model.safetensors",
        "two": r"several networks \(a.ckpt, b.ckpt\)",
        "weights.zip": "with the suffix .ckpt, .safetensors, .pth or .onnx",
        "foreign.ckpt": r"foreign\.ckpt",
    }
    for name, words in cases.items():
        with pytest.raises(UserError, match=words):
            Predictor(tmp_path / name)


def test_options_that_cannot_be_meant_are_reported_together(tiny_checkpoint):
    with pytest.raises(UserError) as error:
        Predictor(tiny_checkpoint, rounds=0, sharpness=-1, image_size=16)
    assert [line.partition("=")[0] for line in error.value.problems] == ["rounds", "sharpness", "image_size"]
    for options, words in (
        ({"device": "tpu"}, "expected auto, cpu"),
        ({"device": "cuda:99"}, "CUDA"),
        ({"batch_size": 0}, "batch_size=0"),
    ):
        with pytest.raises(UserError, match=words):
            Predictor(tiny_checkpoint, **options)


def test_a_network_without_a_closing_step(tmp_path):
    checkpoint = write_tiny_checkpoint(tmp_path / "fpn.ckpt", "fpn.FPN")
    with pytest.raises(UserError, match="closing_step=false: FPN has no mask step"):
        Predictor(checkpoint, device="cpu", closing_step=False)


def test_batches_give_what_single_pictures_give(predictor, photograph):
    pictures = [photograph, photograph[:20], photograph[:, ::-1]]
    together, alone = predictor.segment(pictures), [predictor(picture) for picture in pictures]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.mask, other.mask, atol=1e-5)


def test_threads_of_torch_are_restored_after_the_last_context():
    net = torch.nn.Identity()
    network = TorchNetwork(net, {"data": {"image_size": 64}})
    torch.set_num_threads(before := 2)
    first, second = network.shared_by(10**6), network.shared_by(10**6)
    first.__enter__()
    second.__enter__()
    assert torch.get_num_threads() == 1
    first.__exit__(None, None, None)
    assert torch.get_num_threads() == 1
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_the_example_of_the_readme(tiny_checkpoint, photograph, tmp_path, monkeypatch, capsys):
    (example,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        if "Predictor" in block
    ]
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photograph).save("picture.jpg")
    exec(example.replace("run-camo-lite0", str(tiny_checkpoint)), {})
    assert Image.open("object.png").mode == "RGBA"
    assert capsys.readouterr().out == f"{Predictor(tiny_checkpoint)('picture.jpg').boxes()}\n"


@pytest.mark.slow
def test_it_needs_no_library_of_training(tiny_checkpoint, photograph, tmp_path):
    Image.fromarray(photograph).save(tmp_path / "moth.png")
    command = [sys.executable, "-c", BLOCKED, str(tiny_checkpoint), str(tmp_path / "moth.png")]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "(50, 70) (50, 70, 4) (50, 70, 3) (50, 70, 3) 3\n"), done.stderr
