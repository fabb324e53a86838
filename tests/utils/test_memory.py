"""What a process gives back to the system."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from src.utils.memory import release_code


def resident_files() -> int:
    """KiB of mapped files, such as libraries, in this process's resident memory."""
    return int(Path("/proc/self/status").read_text().split("RssFile:")[1].split()[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names mapped code by Linux's /proc")
def test_code_that_is_given_back_runs_again():
    assert torch.ones(3).sum() == 3
    before = resident_files()
    assert release_code()
    assert resident_files() < before - 50_000  # torch alone has touched more
    assert torch.linalg.inv(2 * torch.eye(3)).trace() == 1.5
