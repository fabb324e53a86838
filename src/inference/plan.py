"""Everything that `src.predict` can find wrong before it loads a network, and what it will do if nothing is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.inference.files import Checked, check_sources
from src.inference.inputs import STANDARD_INPUT, Source, find_sources
from src.inference.opening import network_file
from src.inference.outputs import STAGES, Outputs
from src.inference.settings import PredictSettings, predict_settings
from src.utils.errors import Problems, UserError
from src.utils.protected import Protected

STANDARD_OUTPUT = "-"
LAST = "last"


@dataclass(frozen=True)
class Plan:
    """What is to be predicted.

    Attributes:
        settings: what is written.
        network: the network's file.
        sources: what can be opened, by name.
        skipped: one line per source that cannot.
        outputs: where files go; None is standard output.
    """

    settings: PredictSettings
    network: Path
    sources: list[Checked]
    skipped: list[str]
    outputs: Outputs | None


def make_plan(cfg: Mapping[str, Any]) -> Plan:
    """Read a prediction's configuration and look at every file that it names.

    Args:
        cfg: `conf/predict.yaml` as a plain mapping.

    Raises:
        UserError: all mistakes, as far as one does not hide another.
    """
    settings = predict_settings(cfg)
    problems = Problems()
    network, sources = Path(), list[Source]()
    with problems.catch():
        network = _network(cfg)
    with problems.catch():
        sources = find_sources(cfg["input"], cfg["recursive"], Path(cfg["output"]))
    problems.raise_all()
    checked, unreadable = check_sources(sources, settings)
    outputs = None
    if cfg["output"] == STANDARD_OUTPUT:
        problems += _stream_problems(sources, settings)
    else:
        outputs = _outputs(cfg, settings, network, sources)
        problems += outputs.problems(sources, settings.overwrite or settings.only_missing)
    if not settings.skip_errors:
        problems += unreadable
    problems.raise_all("nothing was predicted:")
    return Plan(settings, network, checked, unreadable, outputs)


def _network(cfg: Mapping[str, Any]) -> Path:
    if cfg["ckpt_path"] is None:
        raise UserError(
            "ckpt_path: name the checkpoint to predict with, e.g. ckpt_path=outputs/…/checkpoints/best.ckpt"
        )
    if cfg["ckpt_path"] == LAST:
        from src.checkpoints.finding import resolve_checkpoint

        return resolve_checkpoint(LAST, cfg["paths"]["output_dir"]) or Path()
    return network_file(cfg["ckpt_path"])


def _outputs(cfg: Mapping[str, Any], settings: PredictSettings, network: Path, sources: Sequence[Source]) -> Outputs:
    """Return where files go; nothing that the command reads is ever written."""
    background = cfg["background"]
    others = [network, Path(cfg["input"]), *([Path(background)] if isinstance(background, str) else [])]
    inputs = [source.path for source in sources if source.path is not None]
    return Outputs(
        Path(cfg["output"]), settings.types, settings.file_format, settings.frames, Protected([*inputs, *others])
    )


def _stream_problems(sources: Sequence[Source], settings: PredictSettings) -> list[str]:
    problems = []
    if len(settings.types) != 1 or STAGES in settings.types:
        problems.append(f"output={STANDARD_OUTPUT}: standard output takes one type, not {', '.join(settings.types)}")
    if len(sources) != 1 or sources[0].is_video:
        problems.append(
            f"output={STANDARD_OUTPUT}: standard output takes one picture; "
            f"input={STANDARD_INPUT} reads one from standard input"
        )
    return problems
