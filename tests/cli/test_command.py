"""Commands as users run them: exit status and messages, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from src.cli.as_typed import as_typed
from src.cli.command import CONF, _mistake, _plain, console
from src.cli.output_folder import CheckOutputFolder
from src.cli.override_errors import composition_mistake
from src.cli.type_check import check_own_types
from src.utils.errors import Problems, UserError
from tests.fixtures.warm_python import run


@pytest.mark.slow
def test_all_mistakes_at_once_without_a_traceback(tmp_path):
    overrides = ["data.root=nowhere", "encoder.name=resnet51", f"paths.output_dir={tmp_path}"]
    result = run("src.train", "experiment=camo_lite0", *overrides)
    assert result.returncode == 2
    assert "nowhere" in result.stderr
    assert "resnet51" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["src.eval", "ckpt_path=none.ckpt"], "none.ckpt"),
        (["src.predict", "ckpt_path=none.ckpt", "input=a", "output=b"], "none.ckpt"),
        (["src.train", "experiment=camo_lite"], "camo_lite0"),
        (["src.train", "experiment=quickstart", "trainer=gpu", "encoder.weights=null"], "trainer"),
        (["src.train", "model.net.num_stage=2"], "num_stage"),
        (["src.eval"], "ckpt_path=…"),
        (["src.predict", "ckpt_path=a.ckpt"], "output=…"),
        (["src.train", "experiment=quickstart", "logger=null"], "null is no choice of a group"),
        (["src.train", "experiment=quickstart", "trainer.accelerator=tpu"], "error: trainer: "),
        (["src.train", "experiment=quickstart", "data.seed=-1"], "data.seed=-1: must be 0 or more"),
        (["src.train", "-m", "experiment=camo_lite0", "data.root=nowhere", "seed=0,1"], "2 of the 2 jobs failed"),
        (["scripts.quickstart", "data.num_train=0"], "data.num_train=0"),
    ],
)
def test_a_mistake_is_one_clear_message(words, expected, tmp_path):
    place = ["--output", str(tmp_path)] if words[0].startswith("scripts") else [f"paths.output_dir={tmp_path}"]
    result = run(*words, *place)
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_mistake_leaves_no_folder_and_the_notes_of_another_run_alone(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    (old / ".hydra").mkdir(parents=True)
    (old / ".hydra" / "overrides.yaml").write_text("- seed=5\n")
    (old / "checkpoints").mkdir()
    (old / "checkpoints" / "last.ckpt").touch()
    for folder in (new, old):
        assert (
            run("src.train", "experiment=quickstart", "model.net.num_stages=0", f"paths.output_dir={folder}").returncode
            == 2
        )
    assert not new.exists()
    assert (old / ".hydra" / "overrides.yaml").read_text() == "- seed=5\n"


@pytest.mark.slow
@pytest.mark.parametrize("mode", [[], ["-m", "seed=0,1"]], ids=["run", "multirun"])
def test_an_output_folder_that_cannot_be_written(mode, tmp_path):
    (tmp_path / "file").touch()
    result = run("src.train", *mode, "experiment=quickstart", f"paths.output_dir={tmp_path / 'file' / 'run'}")
    assert result.returncode == 2
    assert result.stderr.startswith(
        f"error: paths.output_dir: {tmp_path / 'file' / 'run'} cannot be written: Not a directory"
    )
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("mode", ["run", "sweep"])
def test_an_output_folder_without_a_name(mode, capsys, tmp_path, monkeypatch):
    """The empty value of `paths.output_dir=$FOLDER` when the variable is not set."""
    monkeypatch.chdir(tmp_path)
    callback, config = CheckOutputFolder(), OmegaConf.create({"hydra": {mode: {"dir": ""}}})
    with pytest.raises(SystemExit) as ended:
        (callback.on_run_start if mode == "run" else callback.on_multirun_start)(config)
    assert (ended.value.code, capsys.readouterr().err) == (
        2,
        "error: paths.output_dir is empty; name a folder, or leave it out\n",
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.net.num_stage=2", "model.net.num_stage: there is no such setting; did you mean model.net.num_stages?"),
        ("model.net.mu=0.1", "model.net.mu: there is no such setting; did you mean model.net.mask_step.mu?"),
        (
            "model.net.robe_image=false",
            "model.net.robe_image: there is no such setting any more; write model.net.robe.reads_image",
        ),
        ("modle=fpn", "modle: there is no such setting; did you mean model?"),
        ("experimnt=quickstart", "experimnt: there is no such setting; did you mean experiment?"),
        ("lr=3", "lr: there is no such setting; did you mean model.optimizer.lr?"),
        ("data/augmentaton=strong", "data/augmentaton: there is no such setting; did you mean data/augmentation?"),
        ("experiment=quickstar", "experiment=quickstar: no such choice; did you mean quickstart?"),
        ("logger=zzz", "logger=zzz: no such choice; there are csv, tensorboard, wandb"),
        (
            "model=zzz",
            "model=zzz: no such choice; "
            "there are feder, fpn, fpn_ds, fpn_wide, released, run, run_paper, run_quarter, unet",
        ),
        ("callbacks=[default,emma]", "callbacks=emma: no such choice; did you mean ema?"),
        (
            "data.test_sets=[CAMO",
            "data.test_sets=[CAMO: no viable alternative at input '[CAMO'; "
            """if the value is a text, quote it for Hydra too: 'data.test_sets="[CAMO"'""",
        ),
        (
            "trainer.max_time=00:01:00:00",
            "trainer.max_time: not among the settings of conf/, but Trainer takes it: write +trainer.max_time=…",
        ),
    ],
)
def test_what_does_not_compose_is_one_line_with_what_is_near(override, expected):
    with pytest.raises(HydraException) as error, initialize_config_dir(CONF, version_base="1.3"):
        compose("train", [override])
    assert composition_mistake(error.value) == expected
    assert composition_mistake(UserError("ours")) == "ours"
    assert composition_mistake(ValueError("another")) is None


def test_a_group_of_another_command():
    with pytest.raises(HydraException) as error, initialize_config_dir(CONF, version_base="1.3"):
        compose("eval", ["ckpt_path=x.ckpt", "data=folder"])
    assert (
        composition_mistake(error.value) == "data: not a group of choices of this command; --help lists what it takes"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["model.net.num_stage=2"],
            ["error: model.net.num_stage: there is no such setting; did you mean model.net.num_stages?"],
        ),
        (["seed=abc"], ["error: seed=abc: expected a whole number"]),
        (
            ["data=tubular"],
            [
                "error: 3 settings are not valid:",
                *(
                    f"  - data.num_{part}: COSDataModule has no such setting (in conf/experiment/quickstart.yaml)"
                    for part in ("train", "val", "test")
                ),
            ],
        ),
    ],
    ids=["name", "type", "group"],
)
def test_the_whole_of_what_a_command_says_of_a_mistake(overrides, expected, tmp_path):
    result = run("src.train", "experiment=quickstart", *overrides, f"paths.output_dir={tmp_path}")
    assert (result.returncode, result.stderr.splitlines()) == (2, expected)


def test_a_workers_traceback_is_left_out():
    traceback = "Original Traceback (most recent call last):\n  …\nsrc.utils.errors.UserError: "
    message = f"Caught UserError in DataLoader worker process 0.\n{traceback}a.jpg"
    assert _plain(message) == "a.jpg"


def test_problems_are_collected_and_other_errors_are_not():
    problems = Problems()
    for text in ("one", "two"):
        with problems.catch():
            raise UserError(text)
    with pytest.raises(UserError, match="one\ntwo"):
        problems.raise_all()
    with pytest.raises(KeyError), problems.catch():
        raise KeyError("three")


def test_what_the_system_refuses_is_one_line():
    with pytest.raises(OSError, match="too long") as error:
        Path("x" * 300).read_bytes()
    assert _mistake(error.value) == f"{'x' * 300}: File name too long"
    assert _mistake(OSError("ours")) is None


def test_a_name_is_no_markup(capsys):
    console().print("out [/x] [red] :warning:")
    assert capsys.readouterr().out == "out [/x] [red] :warning:\n"


def test_an_empty_path_is_no_folder():
    cfg = OmegaConf.create({"output": "", "input": "a", "data": {"root": None}})
    with pytest.raises(UserError, match="output=: expected a path"):
        check_own_types(cfg)


def test_an_option_that_is_none():
    with pytest.raises(UserError, match="--seed: settings are given as seed=VALUE"):
        as_typed(["--seed", "3"])
    assert as_typed(["--cfg", "job", "--hel"]) == ["--cfg", "job", "--hel"]
