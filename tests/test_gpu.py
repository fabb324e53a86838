"""What only a CUDA device can confirm: `make test-gpu`."""

from __future__ import annotations

import pytest
import torch

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
