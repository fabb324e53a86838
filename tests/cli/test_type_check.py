"""Values against the type hints of what they configure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from src.cli.command import CONF
from src.cli.type_check import OWN, check_own_types, check_types, expected, fits
from src.utils.errors import UserError

COMMANDS = ("train", "eval", "predict", "score", "profile", "verify_data")


def config(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(name, ["paths.output_dir=out", *overrides])


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_fine_as_shipped_and_every_plain_setting_has_a_type(command):
    cfg = config(command)
    check_types(cfg)
    free_text = {"task_name", "preds", "gts", "images", "fovs", "method", "set", "spec", "input", "output"}
    plain = {str(key) for key in cfg if not OmegaConf.is_config(cfg._get_node(key))}
    assert plain - free_text - {"encoder", "loss", "scheduler"} <= OWN.keys()


@pytest.mark.parametrize(
    ("command", "right", "wrong", "words"),
    [
        ("eval", ["box", "null"], ["true", "5"], "text or null"),
        ("predict", ["maps", "null"], ["true", "5"], "a path or null"),
        ("export", ["true", "false", "null"], ["box"], "true or false or null"),
    ],
)
def test_prompts_mean_another_thing_in_each_command(command, right, wrong, words):
    given = [] if command == "eval" else ["ckpt_path=x.ckpt"]
    made = {}
    with initialize_config_dir(CONF, version_base="1.3"):
        for value in [*right, *wrong]:
            made[value] = compose(command, [*given, f"prompts={value}"])
    for value in right:
        check_own_types(made[value])
    for value in wrong:
        with pytest.raises(UserError, match=f"prompts={value}: expected {words}"):
            check_own_types(made[value])


@pytest.mark.parametrize("data", ["cod", "synthetic", "tubular", "folder"])
def test_every_kind_of_data_is_fine(data):
    """The experiments: `tests/conf/test_config.py`."""
    check_types(config("train", f"data={data}", "logger=wandb", "callbacks=[default,ema,early_stopping,top_k,panel]"))


def test_every_mistake_is_named_at_once():
    wrong = {
        "seed": "abc",
        "data.image_size": "foo",
        "data.batch_size": "null",
        "data.augmentation": "strong",
        "encoder.name": "3",
        "model.net.num_stages": "two",
        "model.net.levels": "[a]",
        "model.net.robe": "1",
        "model.optimizer.lr": "high",
        "metrics.extra": "auc",
        "trainer.max_epochs": "many",
        "trainer.precision": "17",
    }
    overrides = [f"{key}={value}" for key, value in wrong.items()]
    with pytest.raises(UserError) as error:
        check_types(config("train", "experiment=quickstart", *overrides, "+model.net.num_stage=3"))
    lines = {problem.split("=")[0].split(":")[0]: problem for problem in error.value.problems}
    assert lines.keys() == wrong.keys() | {"model.net.num_stage"}
    assert lines["data.image_size"] == "data.image_size=foo: expected a whole number"
    assert lines["data.augmentation"].endswith("a group is chosen with data/augmentation=strong")
    assert lines["trainer.precision"] == "trainer.precision=17: expected 32-true or bf16-mixed or 16-mixed"
    assert lines["model.optimizer.lr"] == "model.optimizer.lr=high: expected a number"
    assert (
        lines["model.net.num_stage"]
        == "model.net.num_stage: RUN has no such setting; did you mean model.net.num_stages?"
    )


def test_what_goes_to_the_trainer_still_passes():
    given = [
        "+trainer.max_time=00:01:00:00",
        "trainer.limit_train_batches=0.5",
        "trainer.limit_val_batches=2",
        "trainer.devices=[0,1]",
    ]
    check_types(config("train", *given, "trainer.precision=bf16-mixed", "+trainer.overfit_batches=1"))


def test_an_interpolated_value_is_named_by_its_source_once():
    with pytest.raises(UserError) as error:
        check_types(config("train", "paths.output_dir=5"))
    assert str(error.value) == "paths.output_dir=5: expected text or a path"


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [3], [True, 3.5, "3", None]),
        (float, [3, 3.5], [True, "3.5", None]),
        (bool, [True], [1, "yes"]),
        (int | None, [None, 3], ["three"]),
        (Literal["a", "b"], ["a"], ["c", 1]),
        (str | Path, ["a"], [3]),
        (Sequence[int], [[1, 2], ()], ["12", [1, "2"], 3]),
        (tuple[float, float], [[1, 2.5]], [[1], [1, 2, 3], 3]),
        (dict[str, int], [{"a": 1}], [3, "a"]),
        (float | Tensor, [3.5], ["high"]),
        (Callable[[int], int], [{"_target_": "f"}], ["f", 3]),
        (Any, [None, 3, "a", [1]], []),
    ],
)
def test_fits(hint, good, bad):
    assert [value for value in good if not fits(value, hint)] == []
    assert [value for value in bad if fits(value, hint)] == []


def test_hints_in_words():
    assert expected(int | None) == "a whole number or null"
    assert expected(Sequence[int] | None) == "a list (a whole number) or null"
    assert expected(float | Tensor) == "a number"
    assert expected(Literal["holdout", "field"]) == "holdout or field"
