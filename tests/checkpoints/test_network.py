"""A network alone: rebuilt from its file without Lightning, Hydra or torchmetrics."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from src.checkpoints.network import build, load_network
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import rebuild
from src.models.fpn import FPN
from src.models.variant import Variant
from src.models.wrappers import variant_of
from src.utils.errors import UserError

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "docs" / "results" / "weights" / "run-camo-lite0.safetensors"
BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("lightning", "pytorch_lightning", "torchmetrics", "hydra"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
from pathlib import Path
import torch
from src.checkpoints.network import load_network
net, config = load_network(Path(sys.argv[1]))
print(type(net).__name__, config["data"]["image_size"], tuple(net(torch.rand(1, 3, 64, 64)).mask_logits.shape))
"""


@pytest.mark.slow
def test_it_needs_neither_lightning_nor_hydra_nor_torchmetrics():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(WEIGHTS)], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "RUN 352 (1, 1, 64, 64)\n"), done.stderr


@pytest.mark.slow
def test_it_is_the_network_of_the_rebuilt_module():
    net, config = load_network(WEIGHTS)
    module = rebuild(read_checkpoint(WEIGHTS), WEIGHTS)
    assert not net.training
    assert config == module.config
    assert all(torch.equal(value, module.net.state_dict()[name]) for name, value in net.state_dict().items())


@pytest.mark.slow
def test_a_variant_is_the_same_weights_with_another_closing_step():
    closed, opened = (load_network(WEIGHTS, Variant(closing_step=value))[0] for value in (True, False))
    assert [variant_of(net).closing_step for net in (closed, opened)] == [True, False]
    assert all(torch.equal(value, closed.state_dict()[name]) for name, value in opened.state_dict().items())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        outputs = [net(image) for net in (closed, opened)]
    assert outputs[0].closing is not None
    assert outputs[1].closing is None


def test_nodes_are_built_as_hydra_builds_them():
    encoder = {"_target_": "src.models.encoder.PyramidEncoder", "name": "lcnet_050", "weights": None}
    made = build({"_target_": "src.models.fpn.FPN", "_partial_": True, "encoder": encoder, "levels": [4, 8]})
    assert isinstance(made, functools.partial)
    assert made.func is FPN
    assert set(made().context.smooth) == {"4", "8"}
    assert build({"a": [1, {"b": None}]}) == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"_target_": "src.models.fpn.FPM"}, r"no src\.models\.fpn\.FPM"),
        ({"_target_": "src.nowhere.FPN"}, r"no src\.nowhere\.FPN"),
        ({"_target_": "src.models.fpn.FPN", "depth": 3, "width": None}, "no setting depth=3, width=None"),
    ],
)
def test_what_cannot_be_built_is_named(node, words):
    with pytest.raises(UserError, match=words):
        build(node)
