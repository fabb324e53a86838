"""The figures of `src.profile`: counts known by hand, the promised bounds, cost linear in K and in pixels."""

from __future__ import annotations

import csv

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import nn

from src.cli.command import CONF
from src.models.cost import Timing, count_parts, measure
from src.models.encoder import PyramidEncoder
from src.models.run import RUN
from src.profile import profile
from src.utils.errors import UserError


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("profile", ["device=cpu", *overrides])


class Hand(nn.Module):
    """A convolution of 3 · 5 · 9 MACs per pixel, and two 1×1 ones of 5 · 5 that are called three times each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, padding=1, bias=False)
        self.many = nn.ModuleList(nn.Conv2d(5, 5, 1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for _ in range(3):
            for layer in self.many:
                x = layer(x)
        return x


def test_parts_have_the_counts_known_by_hand():
    stem, many, total = count_parts(Hand(), torch.rand(1, 3, 10, 20))
    assert (stem.part, stem.parameters, stem.gmacs) == ("stem", 135, pytest.approx(200 * 135 / 1e9))
    assert (many.part, many.parameters, many.gmacs) == ("many", 60, pytest.approx(200 * 150 / 1e9))
    assert (total.parameters, total.gmacs) == (195, pytest.approx(200 * 285 / 1e9))


@pytest.mark.slow
def test_run_with_resnet50_keeps_the_promised_cost():
    """≤ 45 GMACs and ≤ 35 M parameters at 384 px, all of it in named parts (the released network: 180 GMACs, 79 M)."""
    *parts, total = count_parts(
        RUN(PyramidEncoder("resnet50", None), channels=64, num_stages=4).eval(), torch.rand(1, 3, 384, 384)
    )
    assert total.gmacs <= 45
    assert total.parameters <= 35e6
    assert sum(part.parameters for part in parts) == total.parameters
    assert sum(part.gmacs for part in parts) == pytest.approx(total.gmacs)


def _gmacs(stages: int, size: int) -> float:
    net = RUN(PyramidEncoder("lcnet_050", None), channels=8, num_stages=stages, levels=[4] * stages).eval()
    return count_parts(net, torch.rand(1, 3, size, size))[-1].gmacs


def test_cost_is_linear_in_stages_and_pixels():
    one, two, three = (_gmacs(stages, 64) for stages in (1, 2, 3))
    assert three - two == pytest.approx(two - one)
    assert _gmacs(2, 128) == pytest.approx(4 * two, rel=2e-3)  # channel attention and the global mean do not grow


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query = self.project(tokens)
        return nn.functional.scaled_dot_product_attention(query, query, query)


def test_attention_counts_as_two_matrix_products():
    """The CPU's fused kernel itself would be counted as nothing."""
    total = count_parts(Attention(), torch.rand(1, 2, 20, 8))[-1]
    assert total.gmacs == pytest.approx((2 * 20 * 8 * 8 + 2 * 2 * 20 * 20 * 8) / 1e9)


def test_warm_up_runs_do_not_count():
    calls: list[int] = []
    timing = measure("eval", lambda: calls.append(1), torch.device("cpu"), warmup=3, repeats=5)
    assert (len(calls), len(timing.seconds)) == (8, 5)
    assert timing.peak_gib > 0
    assert Timing("eval", (3.0, 1.0, 2.0, 5.0, 4.0), 0.0).quartiles == (2.0, 3.0, 4.0)
    assert Timing("eval", (3.0,), 0.0).quartiles == (3.0, 3.0, 3.0)


def test_command_prints_and_writes_the_same_figures(tmp_path, capsys):
    small = ["encoder.name=lcnet_050", "model.net.channels=8", "model.net.num_stages=1", "image_size=64"]
    parts, timings = profile(config(*small, "repeats=1", "warmup=0", f"csv={tmp_path / 'cost.csv'}"))
    printed = capsys.readouterr().out
    assert f"{parts[-1].gmacs:.3f}" in printed
    assert [timing.mode for timing in timings] == ["eval", "train"]
    with (tmp_path / "cost.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["part"] for row in rows if row["part"]] == [part.part for part in parts]
    assert [float(row["median_s"]) for row in rows if row["mode"]] == [timing.quartiles[1] for timing in timings]


def test_all_mistakes_at_once(tmp_path):
    (tmp_path / "old.csv").write_text("")
    with pytest.raises(UserError) as error:
        profile(config("image_size=16", "repeats=0", "warmup=-1", f"csv={tmp_path / 'old.csv'}"))
    for words in ("image_size=16", "repeats=0", "warmup=-1", "exists already"):
        assert words in str(error.value)
    with pytest.raises(UserError, match="train=true: BatchNorm"):
        profile(config("image_size=32"))
