"""Several processes give the result of one: started by the command, under torchrun, under SLURM, in multiruns."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.distributed as dist
from hydra.utils import instantiate
from torch import nn

from src.checkpoints.reading import read_checkpoint
from src.distributed import ranks
from src.distributed.signals import Interrupted
from src.distributed.sync_norm import SyncNorm
from src.models.encoder import PyramidEncoder
from src.module import COSModule
from src.train import train
from src.utils.errors import UserError
from tests.fixtures.forked_ranks import fork_ranks
from tests.fixtures.tiny import TINY_OVERRIDES, config
from tests.fixtures.warm_python import run, start

SMALL = [
    "experiment=quickstart",
    *TINY_OVERRIDES,
    "data.num_train=8",
    "data.num_val=3",
    "data.num_test=3",
    "trainer.max_epochs=1",
    "trainer.num_sanity_val_steps=0",
    "model.net.channels=16",
    "model.net.num_stages=2",
]
TWO = "trainer=ddp_cpu"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(scope="module", autouse=True)
def _forks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "subprocess", fork_ranks())
        yield


def complete(words: list[str], folder: Path, **variables: str) -> str:
    """Run a command in ``folder`` and return its output; fail if it fails."""
    done = run(*words, cwd=folder, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def recorded(tmp_path_factory: pytest.TempPathFactory, *settings: str) -> dict[int, dict[str, Any]]:
    """Train with one process and with two; return number of processes → records of `Recorder`, scores and weights."""
    found = {}
    for count in (1, 2):
        folder = tmp_path_factory.mktemp(f"processes_{count}")
        added = [
            "frozen._target_=tests.fixtures.ddp_callbacks.FrozenNorm",
            "record._target_=tests.fixtures.ddp_callbacks.Recorder",
            f"record.path={folder}/seen.json",
        ]
        overrides = ["trainer=cpu", "data.batch_size=4"] if count == 1 else [TWO, "data.batch_size=2"]
        # Adam's default eps of 1e-8 makes whole steps out of the last bits of gradients that are nearly zero.
        overrides += [
            "+model.optimizer.eps=1e-2",
            # Every step multiplies rounding errors, by a factor that depends on the processor; hard thresholds jump.
            "model.optimizer.lr=1e-4",
            "model.net.mask_step.softness=0.1",
            "model.net.closing_step=false",  # its logit is steep: rounding would change scores by more than 1e-6
            *(f"+callbacks.{word}" for word in added),
        ]
        scores = train(config("train", *SMALL, *overrides, *settings, f"paths.output_dir={folder}"))
        weights = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
        found[count] = json.loads((folder / "seen.json").read_text()) | {
            "scores": scores,
            "weights": weights,
            "folder": folder,
        }
    return found


def curves(records: dict[int, dict[str, Any]]) -> list[np.ndarray]:
    """Return the loss of each step, the mean over processes, with one process and with two."""
    return [np.array([np.mean(step["loss"]) for step in records[count]["steps"]]) for count in (1, 2)]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """As `recorded`; 10 steps of 4 images."""
    variables = dict(os.environ)
    found = recorded(tmp_path_factory, "data.num_train=43", "data.num_val=5", "trainer.num_sanity_val_steps=-1")
    assert not dist.is_initialized()
    assert dict(os.environ) == variables | {name: value for name, value in os.environ.items() if name.startswith("PL_")}
    return found


def test_two_processes_learn_what_one_does(records):
    one, two = records[1]["steps"], records[2]["steps"]
    assert len(one) == len(two) == 10
    assert [sorted(step["names"]) for step in one] == [sorted(step["names"]) for step in two]
    np.testing.assert_allclose(*curves(records), rtol=0, atol=2e-6)
    first, *_, last = (np.mean(validation["val/s_alpha"]) for validation in records[1]["validations"])
    assert abs(last - first) > 1e-3


def test_two_processes_learn_from_prompts_what_one_does(tmp_path_factory):
    """Every image has a prompt, a box or clicks; else a process with fewer of them would weigh more."""
    told = [f"data.prompts.{kind}={share}" for kind, share in {"none": 0, "coarse": 0, "wrong": 0}.items()]
    told += ["data.num_train=16", "test=false"]
    records = recorded(tmp_path_factory, "prompting=on", *told)
    assert len(records[1]["steps"]) == 4
    np.testing.assert_allclose(*curves(records), rtol=0, atol=2e-6)
    for name, one in records[1]["weights"].items():
        np.testing.assert_allclose(records[2]["weights"][name], one, rtol=0, atol=1e-5, err_msg=name)


def test_each_validation_image_counts_once(records):
    """Five images, two processes; before the training, with the same weights."""
    before = [records[count]["validations"][0] for count in (1, 2)]
    assert sorted(before[0].pop("names")) == sorted(before[1].pop("names"))
    for name, (value,) in before[0].items():  # the gains too: Lightning's own mean would cover only 4 images
        assert before[1][name] == pytest.approx([value] * 2, abs=1e-6), name
    assert {"val/s_alpha", "val/mae", "val/gain_1"} <= before[0].keys()


def test_the_first_process_reads_the_test_sets_alone(records):
    folder = records[2]["folder"]
    assert len((folder / "per_image.csv").read_text().splitlines()) == 1 + 3
    scores = [records[count]["scores"]["test/synthetic/s_alpha"] for count in (1, 2)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_a_multirun_of_two_processes_each(tmp_path):
    """Only the first process creates folders and jobs, and W&B sees one run per job."""
    words = [
        "src.train",
        "-m",
        *SMALL,
        TWO,
        "seed=0,1",
        "logger=wandb",
        "test=false",
        f"paths.output_dir={tmp_path / 'sweep'}",
    ]
    complete(words, tmp_path, WANDB_MODE="offline")
    assert folders(tmp_path) == ["sweep"]
    assert folders(tmp_path / "sweep") == ["0", "1"]
    for job in (tmp_path / "sweep" / "0", tmp_path / "sweep" / "1"):
        assert json.loads((job / "job.json").read_text())["state"] == "finished"
        assert read_checkpoint(job / "checkpoints" / "last.ckpt")["global_step"] == 2
        assert folders(job) == [".hydra", "checkpoints", "logs", "wandb"]
        assert folders(job / "logs") == ["version_0"]
        assert len(list((job / "wandb").glob("offline-run-*"))) == 1


def test_torchrun(tmp_path):
    """Without a named folder both processes use the same one; only the first prints and writes `.hydra`."""
    words = [
        "torch.distributed.run",
        "--nproc-per-node=2",
        "-m",
        "src.train",
        *SMALL,
        TWO,
        "trainer.devices=auto",
        "test=false",
    ]
    out = complete(words, tmp_path)
    assert out.count("M parameters | images: 8 to train") == 1
    (run,) = (tmp_path / "outputs" / "train").iterdir()
    assert folders(run) == [".hydra", "checkpoints", "logs"]
    checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert checkpoint["global_step"] == 2
    assert len(checkpoint["exact_resume"]) == 2


def test_slurm_stops_two_processes_and_the_requeued_job_goes_on(tmp_path, monkeypatch):
    """SLURM's variables without SLURM: two tasks of one step on this machine, SIGTERM to both as on preemption."""
    job = {
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "run",
        "SLURM_STEP_ID": "0",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "127.0.0.1",
    }
    job |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
    more = [
        "trainer=slurm",
        "trainer.accelerator=cpu",
        "trainer.sync_batchnorm=false",
        "trainer.max_epochs=200",
        "test=false",
    ]
    words = ["src.train", *SMALL, *more, "callbacks.step.every_n_steps=1"]
    tasks = [start(*words, cwd=tmp_path, **job, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)) for rank in (0, 1)]
    folder = tmp_path / "outputs" / "train" / "slurm_4711_0"
    deadline = time.monotonic() + 200
    while not (folder / "checkpoints" / "step.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    for task in tasks:
        task.send_signal(signal.SIGTERM)
    told = [task.communicate(timeout=120)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [143, 0], told
    assert told[0].count("SIGTERM: stopping after this step") == 1
    assert "resume with: srun " in told[0]
    assert told[1] == ""
    assert folders(tmp_path / "outputs" / "train") == ["slurm_4711_0"]
    stopped = max(read_checkpoint(path)["global_step"] for path in (folder / "checkpoints").glob("*.ckpt"))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # the same command, no ckpt_path
    epochs = f"trainer.max_epochs={stopped // 2 + 1}"
    train(
        config("train", *SMALL, "trainer=cpu", "data.batch_size=4", epochs, "test=false", f"paths.output_dir={folder}")
    )
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == stopped // 2 * 2 + 2


def test_what_another_process_finds_wrong_is_told(tmp_path):
    faulty = ["+callbacks.fails._target_=tests.fixtures.ddp_callbacks.Fails", "+callbacks.fails.rank=1"]
    cfg = config("train", *SMALL, TWO, *faulty, f"paths.output_dir={tmp_path}")
    with pytest.raises(UserError, match=r"broken\.jpg.*rank 1"):
        train(cfg)
    assert not dist.is_initialized()


def test_a_sweep_through_submitit(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="pip install -e '.[cluster]'")
    words = [
        "src.train",
        "-m",
        "hydra/launcher=submitit_local",
        *SMALL,
        TWO,
        "seed=0",
        "test=false",
        f"paths.output_dir={tmp_path / 'sweep'}",
    ]
    complete(words, tmp_path)
    assert folders(tmp_path / "sweep") == [".submitit", "0"]
    assert json.loads((tmp_path / "sweep" / "0" / "job.json").read_text())["state"] == "finished"
    assert len(read_checkpoint(tmp_path / "sweep" / "0" / "checkpoints" / "last.ckpt")["exact_resume"]) == 2


def test_sigterm_in_the_test_phase(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(COSModule, "test_step", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted) as stopped:
            train(config("train", *SMALL, f"paths.output_dir={tmp_path}"))
    assert stopped.value.code == 143
    best = tmp_path / "checkpoints" / "best.ckpt"
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "SIGTERM" in line]
    assert line.startswith("stopped by SIGTERM in the test; test again with: ")
    assert line.endswith(f" -m src.train paths.output_dir={tmp_path} ckpt_path={best} train=false")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    scores = train(config("train", *SMALL, f"paths.output_dir={tmp_path}", f"ckpt_path={best}", "train=false"))
    assert "test/synthetic/s_alpha" in scores
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # a requeued job has nothing left to train
    assert (
        train(config("train", *SMALL, f"paths.output_dir={tmp_path}"))["test/synthetic/s_alpha"]
        == scores["test/synthetic/s_alpha"]
    )


@pytest.mark.parametrize("encoder", ["resnet50", "tf_efficientnet_lite0", "mobilenetv4_conv_small"])
def test_synchronised_norms_keep_their_activations(encoder):
    """PyTorch's own conversion removes the activations from timm's norm layers."""
    net, image = PyramidEncoder(encoder, None).eval(), torch.rand(1, 3, 64, 64)
    norms = [name for name, layer in net.named_modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        before = net(image)
        synchronised = SyncNorm().apply(net)
        assert all(isinstance(synchronised.get_submodule(name), nn.SyncBatchNorm) for name in norms)
        during = synchronised(image)
        alone = SyncNorm().revert(synchronised)
        assert [
            name for name, layer in alone.named_modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)
        ] == norms
        assert not any(isinstance(layer, nn.SyncBatchNorm) for layer in alone.modules())
        after = alone(image)
    for stride, level in before.items():
        torch.testing.assert_close(during[stride], level)
        torch.testing.assert_close(after[stride], level)


@pytest.mark.parametrize(("trainer", "kind"), [("ddp", SyncNorm), ("ddp_cpu", type(None))])
def test_the_strategy_synchronises_the_norms(trainer, kind, tmp_path, monkeypatch):
    seen: list[L.Trainer] = []

    def fit(self: L.Trainer, *_: Any, **__: Any) -> None:
        seen.append(self)
        raise UserError("far enough")

    monkeypatch.setattr(L.Trainer, "fit", fit)
    monkeypatch.setattr("src.pipeline.preflight.check_devices", lambda *_: {"accelerator": "cpu", "devices": 2})
    monkeypatch.setenv("LOCAL_RANK", "0")  # the other process is somebody else's
    with pytest.raises(UserError, match="far enough"):
        train(config("train", *SMALL, f"trainer={trainer}", f"paths.output_dir={tmp_path}"))
    assert type(seen[0].strategy._layer_sync) is kind
    assert not seen[0].strategy._ddp_kwargs.get("find_unused_parameters", False)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="wants two CUDA devices")
def test_two_gpus(tmp_path):
    words = ["src.train", *SMALL, "trainer=ddp", "trainer.devices=2", f"paths.output_dir={tmp_path / 'run'}"]
    out = complete(words, tmp_path)
    assert "synthetic: stage by stage" in out


def test_find_unused_parameters_is_nowhere_in_the_configuration():
    trainer = instantiate(config("train", "experiment=quickstart", TWO, "paths.output_dir=out").trainer)
    assert trainer.strategy._ddp_kwargs == {}
