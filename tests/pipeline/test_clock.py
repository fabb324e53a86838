"""The clock of a training and a test: what it adds up, and where it is printed."""

from __future__ import annotations

import re
from itertools import accumulate
from types import SimpleNamespace

import pytest

from src.pipeline import clock as clock_module
from src.pipeline.clock import Clock, clock_for
from src.train import train
from tests.fixtures.tiny import ONE_BATCH_OVERRIDES, TWO_STAGE_OVERRIDES, config

TRAIN, VAL, TEST = (
    "[_TrainingEpochLoop].train_dataloader_next",
    "[_EvaluationLoop].val_next",
    "[_EvaluationLoop].test_next",
)


@pytest.fixture
def passes(monkeypatch):
    """Set the seconds that pass before each look at the clock."""

    def set_seconds(*seconds: float) -> None:
        times = accumulate(seconds)
        monkeypatch.setattr(clock_module, "time", SimpleNamespace(perf_counter=lambda: next(times)))

    return set_seconds


def test_a_training_waits_for_the_data_of_its_epochs_not_of_the_sanity_check(passes):
    passes(0, 50, 100, 1, 2, 8, 1, 8)
    clock = Clock()
    with clock.profile(VAL):
        pass
    with clock.profile("run_training_epoch"):
        with clock.profile(TRAIN):
            pass
        with clock.profile(VAL):
            pass
    assert clock.of_training() == "waited for data: 15.0 % of 20.0 s (training 2.0 s, validation 1.0 s)"


def test_epochs_add_up(passes):
    passes(0, 0, 3, 1, 0, 0, 1, 3)
    clock = Clock()
    for _ in range(2):
        with clock.profile("run_training_epoch"), clock.profile(TRAIN):
            pass
    assert clock.of_training() == "waited for data: 50.0 % of 8.0 s (training 4.0 s, validation 0.0 s)"


def test_the_parts_of_a_test_are_shares_of_its_whole(passes):
    passes(0, 4, 0, 1, 0, 2)
    clock = Clock()
    for action in ("network", TEST, "[LightningModule]COSModule.on_test_epoch_end"):
        with clock.profile(action):
            pass
    words = "80.0 % of 5.0 s (waiting for data 20.0 %, for the last scores 40.0 %)"
    assert clock.of_test(5.0) == f"the network's share of the test: {words}"


def test_a_configured_profiler_stays():
    assert clock_for(config("train", "debug=profile").trainer) == {}
    assert isinstance(clock_for(config("train").trainer)["profiler"], Clock)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_training_and_its_test_print_their_shares(tmp_path, capsys):
    train(config("train", *TWO_STAGE_OVERRIDES, *ONE_BATCH_OVERRIDES, "test=true", f"paths.output_dir={tmp_path}"))
    out = capsys.readouterr().out
    ((waited, whole),) = re.findall(r"waited for data: ([\d.]+) % of ([\d.]+) s", out)
    ((network, data, scores),) = re.findall(
        r"network's share of the test: ([\d.]+) % of .*data ([\d.]+) %, for the last scores ([\d.]+) %", out
    )
    assert 0 < float(waited) < 100
    assert float(whole) > 0
    assert 0 < float(network) <= 100 - float(data) - float(scores) + 0.2
