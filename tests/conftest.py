"""Fixtures that several test files share."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hydra.core.hydra_config import HydraConfig

from src.models.encoder import PyramidEncoder
from src.models.robe import ROBE
from src.models.run import RUN
from src.models.sofs import MaskStep, ReversibleStateSpace
from tests.fixtures import warm_python
from tests.fixtures.exported import export_with_prompts_in_stages, exporter
from tests.fixtures.folders import write_cod
from tests.fixtures.once import made_once
from tests.fixtures.tiny import ROOT
from tests.fixtures.trained_run import TrainedRun, read_trained_run, train_once

SHARED_DATA = ROOT.parent / "shared" / "data"


LONG_FILES = (
    "distributed/test_ranks.py",
    "pipeline/test_resume.py",
    "inference/export/test_export.py",
    "conf/test_experiments.py",
    "test_train.py",
    "inference/test_page.py",
    "ops/scan/test_scan.py",
    "test_eval.py",
    "ops/scan/test_triton.py",
)
"""Long test files start first, longest first, so that none still runs when all other workers have finished."""


gc.disable()  # while half a million objects are imported, none of which is garbage


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what was imported, and run rarely: it would take a fifth of the tests' time."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; mark tests of the trained run and of exported networks as slow: the first makes them."""
    places = {str(Path(__file__).parent / name): place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(str(item.path), len(places)))
    for item in items:
        if {"trained_run", "exported"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _quick_tests_stay_quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that trains or runs a command without the mark that keeps it out of `make check`."""
    if not any(request.node.get_closest_marker(name) for name in ("slow", "gpu")):
        refuse = functools.partial(pytest.fail, "mark this test slow: it trains, or runs a command")
        monkeypatch.setattr(L.Trainer, "fit", lambda *_, **__: refuse())
        monkeypatch.setattr(warm_python, "_connection", lambda *_, **__: refuse())


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Verdicts and image caches stay with the tests."""
    os.environ["COS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    """Give each test the same random numbers, and leave no threads or process groups to the next one."""
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    HydraConfig.instance().cfg = None  # what a command that ran in this process has left
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):  # Lightning leaves them
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real images beside the checkout, where there are any."""
    if not (SHARED_DATA / "TrainDataset").is_dir():
        pytest.skip("../shared/data is not here")
    return SHARED_DATA


@pytest.fixture
def make_run():
    """Build a small RUN as published: lite0 with random weights, 16 channels; parts are settings, or None for off."""
    published: dict[str, Any] = {"levels": "coarse_to_fine", "closing_step": False}

    def build(
        encoder: str = "tf_efficientnet_lite0",
        channels: int = 16,
        mask_step: Mapping[str, Any] | None = {},
        state_space: Mapping[str, Any] = {},
        robe: Mapping[str, Any] | None = {},
        **options: Any,
    ) -> RUN:
        parts = {
            "mask_step": None if mask_step is None else functools.partial(MaskStep, **mask_step),
            "state_space": functools.partial(ReversibleStateSpace, **{"gamma": None} | dict(state_space)),
            "robe": None if robe is None else functools.partial(ROBE, **robe),
        }
        return RUN(PyramidEncoder(encoder, None), channels, **published | parts | options)

    return build


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A finished training of the tiny quickstart, for tests that only read one."""
    return read_trained_run(made_once(tmp_path_factory, "trained_run", train_once))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny.ckpt` and its export `tiny.onnx`, which reads pictures and has the stages as outputs."""
    return made_once(tmp_path_factory, "exported", exporter("stages=true"))


@pytest.fixture(scope="session")
def exported_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny.ckpt` and its export `tiny.onnx`, which reads pictures and prompts."""
    return made_once(tmp_path_factory, "exported_prompts", exporter("prompts=true"))


@pytest.fixture(scope="session")
def exported_stage_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Likewise, of a network that was trained with prompts."""
    return made_once(tmp_path_factory, "exported_stage_prompts", export_with_prompts_in_stages)


@pytest.fixture(scope="session")
def cod_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the sets of camouflaged objects, for tests that only read one."""
    return write_cod(tmp_path_factory.mktemp("cod"))


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave curves and galleries out of reports: they take two seconds per set and have tests of their own."""
    monkeypatch.setattr("src.report.write._pictures", lambda *_: None)
