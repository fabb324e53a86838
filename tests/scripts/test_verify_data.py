"""The command: what it prints in and outside a terminal, its exit status, its report."""

import io
import json
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from rich.console import Console

from scripts import verify_data
from src.cli.command import CONF
from src.utils.errors import UserError
from tests.fixtures.folders import write_scenes


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COS_CACHE", str(tmp_path / "cache"))
    long = tmp_path / ("a long name with spaces " * 6).strip()
    write_scenes(long / "TrainDataset" / "CAMO", 8, "camourflage_", seed=1)
    write_scenes(long / "TestDataset" / "CAMO", 2, "camourflage_9", seed=2)
    return long


def status(root: Path, output: Path, *overrides: str, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    places = [f"data.root='{root}'", f"paths.output_dir={output}"]
    monkeypatch.setattr(sys, "argv", ["verify_data", "data=camo", *places, "workers=1", *overrides])
    try:
        verify_data.main()
    except SystemExit as exit_:
        return exit_.code
    return 0


@pytest.mark.slow
def test_exit_status_and_report(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(root, tmp_path / "out", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr().out
    assert "CAMO-Train, 8 of 1000 images" in said
    assert "usable: 10 pairs, 0 problems, 2 warnings" in said
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["usable"], report["errors"], report["warnings"], report["check"]) == (True, 0, 2, "full")

    broken = root / "TrainDataset" / "CAMO" / "Imgs" / "camourflage_003.jpg"
    broken.write_bytes(broken.read_bytes()[:-900] + b"\xff\xd9")
    assert status(root, tmp_path / "out2", monkeypatch=monkeypatch) == 1
    lines = capsys.readouterr().out.splitlines()
    # one finding a line, with its whole path, however long
    assert any(line.startswith(f"error: CAMO-Train: damaged: {broken}: broken inside") for line in lines)
    assert status(root, tmp_path / "out3", "full=false", monkeypatch=monkeypatch) == 0
    assert status(root / "nowhere", tmp_path / "out4", monkeypatch=monkeypatch) == 2
    assert "no such folder" in capsys.readouterr().err


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("verify_data", list(overrides))


@pytest.mark.slow
def test_absent_sets_are_listed_and_skipped(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["data=camo", f"data.root='{root}'", f"paths.output_dir={tmp_path}", "full=false"]
    assert verify_data.verify_data(config(*places, "data.test_sets=[CAMO,NC4K]")).usable
    assert "absent, skipped: NC4K-Test (NC4K, Lv et al." in capsys.readouterr().out
    places[2] += "/again"
    with pytest.raises(UserError, match="none of the sets is under"):
        verify_data.verify_data(config(*places, "data.test_sets=[CHAMELEON]", "data.train_sets=[GDD]"))
    with pytest.raises(UserError, match="the check cannot begin") as caught:
        verify_data.verify_data(config(*places, "data.test_sets=[CAMO,CHAMELON]", "full=perhaps", "workers=-1"))
    assert "did you mean CHAMELEON?" in str(caught.value)
    assert "full=perhaps: must be" in str(caught.value)
    assert "workers=-1: must be" in str(caught.value)
    with pytest.raises(UserError, match="drawn, not read"):
        verify_data.verify_data(config("data=synthetic"))


def test_table_in_a_terminal(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        (root / "TrainDataset" / "CAMO" / "GT" / f"camourflage_{number:03d}.png").unlink()
    image = root / "TrainDataset" / "CAMO" / "Imgs" / "camourflage_000.jpg"
    image.rename(image.with_name("[red]a :cat: [copy].jpg"))
    screen = io.StringIO()
    monkeypatch.setattr(verify_data, "console", lambda: Console(file=screen, force_terminal=True, width=160))
    report = verify_data.verify_data(
        config("data=camo", f"data.root='{root}'", f"paths.output_dir={tmp_path}", "full=false")
    )
    assert report.count("error") == 7
    assert "[red]a :cat: [copy].jpg" in screen.getvalue()  # neither markup nor an emoji
    assert "camourflage_004.jpg" in screen.getvalue()
    assert "camourflage_005.jpg" not in screen.getvalue()
    assert "… 2 more" in screen.getvalue()


def test_a_wrong_root_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        verify_data.verify_data(
            config("data=cod", f"data.root={tmp_path / 'absent'}", f"paths.output_dir={tmp_path / 'out'}")
        )
    assert not (tmp_path / "out").exists()
