"""Parameters that are read from source code equal those that Python reports."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from hydra.utils import get_object

from src.cli.command import CONF
from src.cli.signatures import parameter_names

TARGETS = sorted(
    {
        name
        for path in Path(CONF).rglob("*.yaml")
        for name in re.findall(r"_target_: *([\w.]+)", path.read_text("utf-8"))
    }
)


# The callbacks of Hydra, in `src.cli`, take no arguments.
@pytest.mark.parametrize("target", [name for name in TARGETS if not name.startswith("src.cli.")])
def test_every_class_of_the_configuration_is_read_as_python_sees_it(target):
    parameters = inspect.signature(get_object(target)).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    assert parameter_names(target) == (None if takes_any else set(parameters))


@pytest.mark.parametrize(
    "target", ["nowhere.Class", "src.cli.signatures.Nothing", "json.loads.more", "Class", "math.sqrt"]
)
def test_what_cannot_be_read_takes_anything(target):
    assert parameter_names(target) is None
