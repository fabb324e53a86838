"""A network as a folder for the Hub: the same bits, a model card, and no internet access for local folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from src.checkpoints.reading import read_checkpoint
from src.checkpoints.weights_file import export_bytes
from src.inference import hub, opening
from src.inference.predictor import Predictor
from src.report.files import metric_rows, write_csv
from src.utils.errors import UserError
from tests.fixtures.fake_scores import set_scores
from tests.fixtures.red_onnx import METADATA, write_red_onnx
from tests.fixtures.tiny import ROOT

SHIPPED = ROOT / "docs" / "results" / "weights" / "run-camo-lite0.safetensors"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any request to the Hub fail the test."""
    monkeypatch.setattr(hub, "hf_hub_download", lambda *_, **__: pytest.fail("the Hub was asked"))


@pytest.fixture(scope="module")
def saved(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "moths"
    predictor.save_pretrained(folder, metrics={"CAMO": {"s_alpha": 0.73, "mae": 0.11}})
    return folder


def test_single_precision_comes_back_with_the_same_bits(saved, predictor, tiny_checkpoint, photograph):
    again = Predictor.from_pretrained(saved, device="cpu")
    stored, state = read_checkpoint(tiny_checkpoint)["state_dict"], again.network.net.state_dict()
    assert any(value.is_floating_point() and not value.half().float().equal(value) for value in stored.values())
    assert {name: value.dtype for name, value in state.items()} == {
        n.removeprefix("net."): v.dtype for n, v in stored.items()
    }
    assert all(torch.equal(state[name.removeprefix("net.")], value) for name, value in stored.items())
    np.testing.assert_array_equal(again(photograph).mask, predictor(photograph).mask)


@pytest.mark.slow
def test_what_was_half_stays_half_and_a_copy_of_a_copy_is_the_same(tiny_checkpoint, tmp_path):
    source = tmp_path / "half.safetensors"
    source.write_bytes(export_bytes(read_checkpoint(tiny_checkpoint), tiny_checkpoint))
    Predictor(source, device="cpu").save_pretrained(tmp_path / "first")
    Predictor.from_pretrained(tmp_path / "first", device="cpu").save_pretrained(tmp_path / "second")
    before, after = load_file(source), load_file(tmp_path / "first" / "model.safetensors")
    assert {value.dtype for value in before.values()} == {torch.float16, torch.int64}
    assert before.keys() == after.keys()
    assert all(before[name].dtype == after[name].dtype and torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "first" / "config.json").read_bytes() == (tmp_path / "second" / "config.json").read_bytes()
    again = load_file(tmp_path / "second" / "model.safetensors")
    assert all(again[name].dtype == value.dtype and torch.equal(again[name], value) for name, value in after.items())
    said = []  # the header's order is the library's own
    for folder in ("first", "second"):
        with safe_open(tmp_path / folder / "model.safetensors", "pt") as file:
            said.append(file.metadata())
    assert said[0] == said[1]


def test_the_card_says_what_it_is_and_whose_terms_hold(tmp_path):
    rows = [
        set_scores("CAMO", "RUN", {"s_alpha": [0.1, 0.2]}, map_="M_0"),
        set_scores("CAMO", "RUN", {"s_alpha": [0.7, 0.76]}, map_="M_1"),
    ]
    write_csv(tmp_path / "metrics.csv", metric_rows(rows, (), "field"))
    Predictor(SHIPPED, device="cpu").save_pretrained(tmp_path / "run-camo", metrics=tmp_path / "metrics.csv")
    card = (tmp_path / "run-camo" / "README.md").read_text(encoding="utf-8")
    assert huggingface_hub.ModelCard(card).data.license == "other"
    for words in (
        "# run-camo\n",
        'Predictor.from_pretrained("run-camo")',
        "| CAMO | 0.7300 |",
        "Protocol `field`; CAMO 2 images.",
        "Research use, trained on CAMO.",
        "Trained on CAMO at 352 × 352 pixels, seed 0, commit `9d02eaa`",
        "## Intended use and limits",
    ):
        assert words in card, words
    config = json.loads((tmp_path / "run-camo" / "config.json").read_text())
    assert config["model"]["net"]["encoder"]["name"] == "tf_efficientnet_lite0"
    assert "root" not in config["data"]


def test_measures_given_by_hand_stand_in_the_card(saved):
    card = (saved / "README.md").read_text(encoding="utf-8")
    assert "| test set | S_α ↑ | MAE ↓ |\n| --- | ---: | ---: |\n| CAMO | 0.7300 | 0.1100 |" in card


def test_mistakes_are_found_before_anything_is_written(saved, predictor, tmp_path):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(UserError) as error:
        predictor.save_pretrained(saved, metrics={"CAMO": {"beauty": 1.0}})
    assert "no measure beauty" in str(error.value)
    assert "already holds model.safetensors, config.json, README.md" in str(error.value)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for metrics in (tmp_path / "other.csv", str(tmp_path / "none.csv")):
        with pytest.raises(UserError, match="metrics: "):
            predictor.save_pretrained(tmp_path / "new", metrics=metrics)
    with pytest.raises(UserError, match="save the checkpoint"):
        Predictor(write_red_onnx(tmp_path / "red.onnx", METADATA)).save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    predictor.save_pretrained(shutil.copytree(saved, tmp_path / "copy"), overwrite=True)
    assert "None were given." in (tmp_path / "copy" / "README.md").read_text(encoding="utf-8")


def test_a_folder_with_other_weights_than_its_configuration_is_refused(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "folder")
    content = read_checkpoint(folder / "model.safetensors")
    content["state_dict"].popitem()
    (folder / "model.safetensors").write_bytes(export_bytes(content, folder, exact=True))
    with pytest.raises(UserError, match="belongs to another architecture"):
        Predictor.from_pretrained(folder)


def test_a_repository_is_uploaded_and_opened_by_its_name(predictor, photograph, tmp_path, monkeypatch):
    asked: list[dict[str, Any]] = []

    class Repository:
        repo_id = "someone/moths"

    def upload(api: Any, *, folder_path: str, repo_id: str, **options: Any) -> str:
        shutil.copytree(folder_path, tmp_path / repo_id)
        return f"address of {repo_id}"

    def fetch(repo_id: str, filename: str, **options: Any) -> str:
        asked.append(options)
        return str(tmp_path / repo_id / filename)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda *_, **__: Repository)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    assert predictor.push_to_hub("someone/moths", private=True) == "address of someone/moths"
    assert 'from_pretrained("someone/moths")' in (tmp_path / "someone" / "moths" / "README.md").read_text(
        encoding="utf-8"
    )
    for opened in (
        Predictor.from_pretrained("someone/moths", revision="v1", device="cpu"),
        Predictor("someone/moths", device="cpu"),
    ):
        np.testing.assert_array_equal(opened(photograph).mask, predictor(photograph).mask)
    assert [options.get("revision") for options in asked] == ["v1", None]


def test_a_hub_that_cannot_provide_it_is_one_sentence(monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection\nand more lines")

    monkeypatch.setattr(hub, "hf_hub_download", refuse)
    with pytest.raises(
        UserError, match=r"someone/moths, and the Hub could not .*LocalEntryNotFoundError: no connection\)"
    ) as error:
        Predictor("someone/moths")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("source", ["none.ckpt", "owner/none.ckpt", "a/b/c", Path("owner/name")])
def test_what_can_only_be_a_path_is_not_asked_of_the_hub(source):
    with pytest.raises(UserError, match="no file or folder"):
        opening.network_file(source)


def test_a_wrong_name_in_a_folder_of_ones_own_is_not_asked_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    with pytest.raises(UserError, match="no file or folder runs/best"):
        Predictor("runs/best")


def test_importing_the_predictor_imports_no_hub_and_no_torch():
    code = "import sys, src.inference; "
    code += "print([name for name in ('huggingface_hub', 'torch', 'httpx') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_checkpoint_passes_on_terms_and_selection(tiny_checkpoint, tmp_path):
    checkpoint = torch.load(tiny_checkpoint, weights_only=False) | {"selection": "test set CAMO"}
    torch.save(checkpoint, tmp_path / "selected.ckpt")
    Predictor(tmp_path / "selected.ckpt", device="cpu").save_pretrained(tmp_path / "shared")
    with safe_open(str(tmp_path / "shared" / hub.WEIGHTS), "pt") as file:
        header = file.metadata()
    assert header["selection"] == "test set CAMO"
    card = (tmp_path / "shared" / hub.CARD).read_text(encoding="utf-8")
    assert header["note"][1:] in card
    assert "not recorded" not in card
