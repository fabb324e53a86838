"""What the callbacks of a training log, keep and draw."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from src.callbacks import panel
from src.callbacks.panel import _with_values
from src.callbacks.progress import ProgressBar
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import rebuild
from src.losses import StagewiseLoss
from src.module import COSModule
from src.train import train
from src.utils.errors import UserError
from tests.fixtures.tiny import TWO_STAGE_OVERRIDES, config

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def run(folder: Path, *overrides: str) -> dict[str, float]:
    return train(
        config("train", *TWO_STAGE_OVERRIDES, "trainer.max_epochs=1", f"paths.output_dir={folder}", *overrides)
    )


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "logs" / "version_0" / "metrics.csv").open()))


@pytest.mark.slow
def test_the_gradient_norm_is_the_mean_of_the_norms_before_clipping(tmp_path, monkeypatch):
    norms = []

    def record(module: COSModule, *_: Any) -> None:
        gradients = [parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None]
        norms.append(float(torch.cat(gradients).double().norm()))

    monkeypatch.setattr(COSModule, "on_before_optimizer_step", record)
    scores = run(tmp_path)
    assert len(norms) == 8
    assert scores["gradient_norm"] == pytest.approx(np.mean(norms), rel=1e-5)
    assert max(norms) > 1  # where clipping starts
    parts = [value for name, value in scores.items() if name.startswith("gradient/")]
    assert {"encoder", "start", "state_spaces_0", "robes_0", "gammas_0"} <= {
        n.split("/")[1] for n in scores if n.startswith("gradient/")
    }
    # The norm of the means, not the mean of the norms.
    assert max(parts) <= scores["gradient_norm"] <= np.linalg.norm(parts) * 1.3
    assert scores["images_per_second"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_no_number_names_its_images_and_keeps_the_state(where, tmp_path, monkeypatch):
    whole, steps = StagewiseLoss.forward, []

    def forward(loss: StagewiseLoss, output: Any, image: torch.Tensor, *rest: Any) -> dict[str, torch.Tensor]:
        terms = whole(loss, output, image, *rest)
        steps.append(image)
        if len(steps) == 5:
            # The latter is 0, with the slope 0 · ∞.
            wrong = torch.tensor(float("nan")) if where == "loss" else (output.mask_logits.sum() * 0).sqrt()
            terms["loss"] = terms["loss"] + wrong
        return terms

    monkeypatch.setattr(StagewiseLoss, "forward", forward)
    with pytest.raises(UserError, match=f"the {where} is not finite in epoch 0, step 4.*nonfinite.pt") as raised:
        run(tmp_path)
    checkpoint = read_checkpoint(tmp_path / "checkpoints" / "nonfinite.pt")
    (batch,) = checkpoint["batch"]
    assert raised.value.problems == tuple(batch["name"])
    assert torch.equal(batch["image"], steps[4])
    assert checkpoint["global_step"] == 4
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    assert read_checkpoint(tmp_path / "checkpoints" / "step.ckpt")["global_step"] == 3


@pytest.mark.slow
def test_the_average_is_what_is_validated_and_stored(tmp_path, monkeypatch):
    weights = []
    monkeypatch.setattr(
        COSModule, "on_before_zero_grad", lambda module, _: weights.append(copy_of(module)), raising=False
    )
    scores = run(tmp_path, "callbacks=[default,ema]", "callbacks.ema.decay=0.5")
    path = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(path)
    name = next(key for key in checkpoint["state_dict"] if key.endswith("weight"))
    after = [weights[i][name] for i in range(1, 8)] + [checkpoint["current_model_state"][name]]
    average = after[0]
    for weight in after[1:]:
        average = 0.5 * average + 0.5 * weight
    torch.testing.assert_close(checkpoint["state_dict"][name], average)
    assert not torch.equal(average, after[-1])
    module = rebuild(checkpoint, path).eval()
    assert validated(module, tmp_path) == pytest.approx(
        {"mae": scores["val/mae"], "s_alpha": scores["val/s_alpha"]}, abs=1e-6
    )


def copy_of(module: COSModule) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


def validated(module: COSModule, folder: Path) -> dict[str, float]:
    from hydra.utils import instantiate
    from lightning import Trainer

    data = instantiate(config("train", *TWO_STAGE_OVERRIDES, f"paths.output_dir={folder}").data)
    (scores,) = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
    ).validate(module, data, verbose=False)
    return {name: scores[f"val/{name}"] for name in ("mae", "s_alpha")}


@pytest.mark.slow
def test_the_bar_shows_the_loss_and_its_terms_the_holdout_speed_and_time_left(tmp_path, monkeypatch):
    whole, shown = ProgressBar.get_metrics, []

    def record(bar: ProgressBar, *arguments: Any) -> dict[str, Any]:
        shown.append(whole(bar, *arguments))
        return shown[-1]

    monkeypatch.setattr(ProgressBar, "get_metrics", record)
    run(tmp_path, "trainer.max_epochs=2")
    last = shown[-1]
    assert list(last) == ["img/s", "ETA", "loss", "structure", "edge", "recon", "back", "S_α", "MAE"]
    assert last["loss"] == pytest.approx(last["structure"] + last["edge"] + last["recon"] + last["back"], rel=1e-5)
    assert last["S_α"] == pytest.approx(
        float([row["val/s_alpha"] for row in rows(tmp_path) if row["val/s_alpha"]][-1]), abs=1e-5
    )
    assert float(last["img/s"]) > 0
    assert last["ETA"] == "0:00:00"
    middle = next(figures for figures in shown if "ETA" in figures and "S_α" in figures)
    assert middle["ETA"] != "0:00:00"


@pytest.mark.slow
def test_top_k_early_stopping_and_panel(tmp_path):
    more = [
        "callbacks=[default,early_stopping,top_k,panel]",
        "callbacks.early_stopping.patience=1",
        "callbacks.top_k.k=2",
    ]
    run(tmp_path, *more, "trainer.max_epochs=9", "model.optimizer.lr=0", "callbacks.panel.every_n_epochs=2")
    seen = [float(row["val/s_alpha"]) for row in rows(tmp_path) if row.get("val/s_alpha")]
    assert 2 <= len(seen) < 9
    best = sorted(range(len(seen)), key=lambda epoch: -seen[epoch])[:2]
    kept = {path.name for path in (tmp_path / "checkpoints").glob("top_*")}
    assert kept == {f"top_{epoch:03d}_{seen[epoch]:.4f}.ckpt" for epoch in best}
    assert seen[-1] <= max(seen[:-1])  # it stopped as the last one was no better
    panels = sorted(path.name for path in (tmp_path / "panels").iterdir())
    assert panels == [f"epoch_{epoch:03d}.png" for epoch in range(1, len(seen), 2)]
    with Image.open(tmp_path / "panels" / panels[0]) as picture:
        assert picture.width > picture.height > 300  # four rows of eleven columns


@pytest.mark.slow
def test_the_panel_is_drawn_with_averaged_weights(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(panel, "draw_panel", lambda path, module, dataset, images: drawn.append(copy_of(module)))
    monkeypatch.setattr(panel.Tracker, "log_picture", lambda *_: None)
    run(tmp_path, "callbacks=[default,ema,panel]", "callbacks.ema.decay=0.5", "callbacks.panel.every_n_epochs=1")
    averaged = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]
    (seen,) = drawn
    assert all(torch.equal(seen[name], value) for name, value in averaged.items())


@pytest.mark.slow
def test_the_learning_rate_is_that_of_the_epoch(tmp_path):
    run(tmp_path, "scheduler=step", "scheduler.step_size=1", "trainer.max_epochs=2", "model.optimizer.lr=1e-3")
    logged = [float(row["learning_rate"]) for row in rows(tmp_path) if row.get("learning_rate")]
    assert logged == pytest.approx([1e-3, 1e-4])


def test_a_column_says_the_numbers_that_made_it():
    shared = {"mu_0": 0.01, "alpha_0": 0.02, "lambda_0": 0.03}
    assert _with_values("$M_2$", shared, 2) == "$M_2$\nμ 0.0100\nα 0.0200"
    assert _with_values("$B_2$", shared, 2) == "$B_2$\nλ 0.0300"
    assert _with_values("$M_2$", {"mu_0": 0.01, "mu_1": 0.5}, 2) == "$M_2$\nμ 0.5000"
    assert _with_values("$M_0$", shared, 2) == "$M_0$"
    assert _with_values("truth", shared, 2) == "truth"
