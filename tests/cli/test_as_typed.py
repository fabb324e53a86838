"""Settings are taken as typed: paths with any characters, texts that look like numbers, W&B's dashes."""

from __future__ import annotations

import shlex

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st

from src.cli.as_typed import as_typed
from src.cli.command import CONF
from src.cli.override_errors import composition_mistake
from src.utils.errors import UserError


def arrives(word: str, *more: str) -> object:
    """The value that a command gets for a typed word."""
    key = word.partition("=")[0].lstrip("+-")
    command = {
        "data.root": "train",
        "paths.output_dir": "train",
        "data.groups": "train",
        "data.test_sets": "train",
    }.get(key, "score")
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose(command, as_typed([word, *more]))
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


PATHS = [
    "a=b",
    "a,b",
    "a (1)",
    "[a]",
    "{a}",
    "#a",
    "it's",
    'say "a"',
    "größe",
    "猫",
    "trailing ",
    " leading",
    "a\\b",
    "a\\",
    "1e3",
    "2024",
    "a;b",
    "$a",
]


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["data.root", "paths.output_dir", "preds", "set"])
def test_paths_and_names_arrive_as_typed(key: str, path: str) -> None:
    assert arrives(f"{key}={path}") == path


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=12))
def test_any_text_arrives(text: str) -> None:
    if (
        text not in ("null", "???", "~")
        and "${" not in text
        and not (len(text) > 1 and text[0] == text[-1] and text[0] in "'\"")
    ):
        assert arrives(f"gts={text}") == text


@pytest.mark.parametrize("path", ["2024", "maps (1)", "a=b", "größe", "trueish", "null's"])
def test_a_folder_of_prompts_arrives_as_typed_and_a_switch_as_one(path: str) -> None:
    def prompts(command: str, value: str) -> object:
        with initialize_config_dir(CONF, version_base="1.3"):
            return compose(command, as_typed([f"prompts={value}"])).prompts

    assert prompts("predict", path) == path
    assert [prompts("export", value) for value in ("true", "false", "null")] == [True, False, None]


def test_what_has_a_meaning_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert arrives("data.root=~/data") == "/home/me/data"
    assert arrives("data.root=${oc.env:HOME}/x") == "/home/me/x"
    assert arrives("set=null") is None
    assert arrives("data.root='a b'") == "a b"
    assert arrives("data.test_sets=[007,1e3,CAMO]") == ["007", "1e3", "CAMO"]
    assert arrives("data.test_sets=2024") == "2024"
    assert arrives("data.groups=(video\\d+)_") == "(video\\d+)_"
    assert as_typed(["-m", "data.root=a,b", "seed=0,1"]) == ["-m", "data.root=a,b", "seed=0,1"]
    assert as_typed(["-m", "data.root=a=b"]) == ["-m", "data.root='a=b'"]


def test_wandb_agents_words_are_overrides() -> None:
    words = ["--data.root=/tmp/x", "--seed=3", "--init=None", "--config-name=train", "--multirun", "--cfg=job"]
    assert as_typed(words) == [
        "--multirun",
        "data.root=/tmp/x",
        "seed=3",
        "init=null",
        "--config-name=train",
        "--cfg=job",
    ]


def test_bytes_of_another_encoding_are_explained() -> None:
    with pytest.raises(UserError, match="no UTF-8"):
        as_typed(["data.root=\udcff"])


def test_the_message_of_a_word_that_hydra_cannot_read_shows_how_to_type_it() -> None:
    with pytest.raises(HydraException) as error, initialize_config_dir(CONF, version_base="1.3"):
        compose("train", ["+model.note=größe (2)"])
    message = composition_mistake(error.value) or ""
    (word,) = shlex.split(message.rsplit("quote it for Hydra too: ", 1)[1])
    with initialize_config_dir(CONF, version_base="1.3"):
        assert compose("train", [word]).model.note == "größe (2)"
