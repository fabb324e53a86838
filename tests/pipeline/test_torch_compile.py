"""`compile=true`: one graph, the plain network's numbers, and checkpoints without a trace of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch

import src.pipeline.preflight
from src.checkpoints.reading import read_checkpoint
from src.losses import StagewiseLoss
from src.models.encoder import PyramidEncoder
from src.models.run import RUN
from src.pipeline.torch_compile import compile_network
from src.train import train
from src.utils.errors import UserError
from tests.fixtures.tiny import tiny_quickstart


@pytest.fixture(autouse=True)
def _forget_graphs() -> Iterator[None]:
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_the_network_is_one_graph_and_computes_the_same(gradient_checkpointing):
    """`fullgraph` raises at a graph break; autograd is traced as by inductor, only code generation is left out."""
    nets = [
        RUN(
            PyramidEncoder("test_efficientnet", None),
            channels=8,
            num_stages=1,
            gradient_checkpointing=gradient_checkpointing,
        )
        for _ in "ab"
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    nets[1].compile(backend="aot_eager", fullgraph=True)
    image, target = torch.rand(2, 3, 64, 64), (torch.rand(2, 1, 64, 64) < 0.3).float()
    outputs = [net(image) for net in nets]
    for output in outputs:
        StagewiseLoss()(output, image, target)["loss"].backward()
    torch.testing.assert_close(outputs[1].mask_logits, outputs[0].mask_logits, atol=1e-4, rtol=0)
    for (name, plain), compiled in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(
            compiled.grad, plain.grad, atol=1e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )
    for plain, compiled in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(compiled, plain)
    assert list(nets[1].state_dict()) == list(nets[0].state_dict())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_compiled_training_validates_stores_tests_and_resumes_as_a_plain_one(tmp_path, monkeypatch):
    monkeypatch.setattr(src.pipeline.preflight, "compile_network", partial(compile_network, backend="eager"))
    small = ["model.net.num_stages=1", "callbacks=[default,ema]", "data.num_train=4", "data.num_val=2"]
    scores = train(tiny_quickstart(tmp_path, "compile=true", *small))
    assert {"val/s_alpha", "test/synthetic/s_alpha"} <= scores.keys()
    stored = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]
    assert [key for key in stored if "_orig_mod" in key] == []
    resumed = train(
        tiny_quickstart(tmp_path, "compile=false", *small, "ckpt_path=last", "trainer.max_epochs=2", "test=false")
    )
    assert 0 < resumed["val/s_alpha"] < 1


def test_without_a_compiler_one_line_says_so_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(Exception, match=r"compile=true.*no-such-compiler") as error:
        train(tiny_quickstart(tmp_path / "run", "compile=true"))
    assert isinstance(error.value, UserError)
    assert not (tmp_path / "run").exists()
