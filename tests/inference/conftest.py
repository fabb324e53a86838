"""A tiny network and pictures of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from src.inference.predictor import Predictor
from tests.fixtures.tiny_network import write_tiny_checkpoint


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a seeded RUN of two stages with a closing step."""
    folder = tmp_path_factory.mktemp("tiny_network")
    return write_tiny_checkpoint(folder / "tiny.ckpt", num_stages=2, closing_step=True)


@pytest.fixture(scope="session")
def predictor(tiny_checkpoint: Path) -> Predictor:
    """The network of :func:`tiny_checkpoint` on the CPU."""
    return Predictor(tiny_checkpoint, device="cpu")


@pytest.fixture
def photograph() -> np.ndarray:
    """A smooth picture, uint8 (50, 70, 3)."""
    rows, columns = np.mgrid[0:50, 0:70]
    return np.stack((rows * 5, columns * 3, rows + columns), axis=-1).astype(np.uint8)
