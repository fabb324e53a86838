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
from src.inference.prompts import NOTHING
from src.inference.said_files import find_said, map_files
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
        sources: what can be opened, by name, with the prompt for each.
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
    said = find_said(cfg, sources, problems)
    if said and STAGES in settings.types:
        problems.append("stages=true: the stages are drawn without boxes and prompts; leave one of them out")
    outputs = None
    if cfg["output"] == STANDARD_OUTPUT:
        problems += _stream_problems(sources, settings)
    else:
        outputs = _outputs(cfg, settings, network, sources)
        problems += outputs.problems(sources, settings.overwrite or settings.only_missing)
    wanted = sources if outputs is None or not settings.only_missing else _missing(sources, outputs)
    checked, unreadable = check_sources(wanted, settings)
    if not settings.skip_errors or outputs is None:
        problems += unreadable
    problems.raise_all("nothing was predicted:")
    known = {one.source: one for one in checked}
    left_out = set(wanted) - known.keys()
    all_checked = [
        (known.get(one) or Checked(one, 0))._replace(said=said.get(one, NOTHING))
        for one in sources
        if one not in left_out
    ]
    return Plan(settings, network, all_checked, unreadable, outputs)


def _missing(sources: Sequence[Source], outputs: Outputs) -> list[Source]:
    """Return the sources that lack an output; the others are not opened again."""
    return [source for source in sources if not outputs.has_all(source)]


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
    others += [Path(cfg["boxes"])] if cfg["boxes"] else []
    others += map_files(Path(cfg["prompts"])) if cfg["prompts"] else []
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
