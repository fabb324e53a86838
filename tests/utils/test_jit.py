"""Compiled code on disk: reused, deleted when a source file has changed, not needed if it cannot be stored."""

from __future__ import annotations

import errno
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import numba.core.caching
import pytest

SOURCE = """
from src.utils.jit import compiled

@compiled({other!r})
def twice(x):
    return 2 * x
"""


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    other, source = tmp_path / "other.py", tmp_path / "kernel.py"
    other.write_text("")
    source.write_text(SOURCE.format(other=str(other)))
    os.utime(other, (0, 0))
    return other, source


def _fresh(source: Path) -> ModuleType:
    """Return the module in the state in which a new process would have it."""
    spec = importlib.util.spec_from_file_location("kernel", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_compiled_code_is_used_again_until_a_file_it_is_made_of_changes(files):
    other, source = files
    hits = []
    for changed in (False, False, True, False):
        if changed:
            os.utime(other, (2**32, 2**32))
        twice = _fresh(source).twice
        assert twice(21) == 42
        hits.append(sum(twice.stats.cache_hits.values()))
        if changed:
            os.utime(other, (0, 0))
    assert hits == [0, 1, 0, 1]


def test_a_full_disk_costs_the_cache_only(files, monkeypatch, caplog):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "save", full)
    with caplog.at_level("DEBUG", logger="src.utils.jit"):
        assert _fresh(files[1]).twice(21) == 42
    assert "No space left on device" in caplog.text


def test_a_read_only_installation_compiles_in_memory_and_says_so_in_a_debug_line(files, monkeypatch, caplog):
    # As if no folder were writable, not even in the home.
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    with caplog.at_level("DEBUG", logger="src.utils.jit"):
        assert _fresh(files[1]).twice(21) == 42
    (record,) = caplog.records
    assert record.levelname == "DEBUG"
    assert record.getMessage().startswith("twice is compiled again in each process")
