"""A run records the state of the code that made it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from src.utils import revision as module


def _git(folder: Path, *words: str) -> str:
    named = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *named, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_commit_and_whether_the_code_differs(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    monkeypatch.setattr(module, "HERE", tmp_path / "src")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # Git sets them where a hook runs the tests
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert module.revision() == "unknown"
    _git(tmp_path, "init", "-q")
    for name in ("src/a.py", "page.md"):
        (tmp_path / name).write_text("1")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "one")
    commit = _git(tmp_path, "rev-parse", "--short=7", "HEAD")
    assert module.revision() == commit
    (tmp_path / "page.md").write_text("2")  # results are stored while the next training begins
    assert module.revision() == commit
    (tmp_path / "src" / "a.py").write_text("2")
    assert module.revision() == commit + "+"
