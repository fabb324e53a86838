"""What only a CUDA device can confirm: `make test-gpu`."""

from __future__ import annotations

import pytest
import torch

from src.train import train
from tests.fixtures.tiny import tiny_quickstart

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_run_on_the_gpu_gives_the_maps_of_the_cpu(make_run):
    net, image = make_run(unfold_stride=4).eval(), torch.rand(2, 3, 97, 131)
    with torch.no_grad():
        on_cpu, on_gpu = net(image).mask, net.cuda()(image.cuda()).mask.cpu()
    assert ((on_cpu - on_gpu).abs() < 1e-3).float().mean() > 0.99


def test_run_trains_on_the_gpu(make_run):
    net = make_run(unfold_stride=4).cuda().train()
    net(torch.rand(2, 3, 64, 64, device="cuda")).mask_logits.square().mean().backward()
    assert net.mask_steps[0].mu.theta.grad.abs() > 0


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_fp16_trains_with_a_scaler_that_is_stored(tmp_path):
    given = ["trainer=gpu", "trainer.precision=16-mixed", "trainer.max_epochs=2", "test=false"]
    scores = train(tiny_quickstart(tmp_path, *given))
    assert 0 < scores["val/s_alpha"] < 1
    assert 0 < scores["train/loss"] < 10
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert stored["MixedPrecision"]["scale"] > 0
    assert all(value.isfinite().all() for value in stored["state_dict"].values())
