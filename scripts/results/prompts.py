"""Measure what prompts are worth: as a term of the objective, and in fusions that need no training.

    python -m scripts.results.prompts RUN [RUN …] [data.root=DATA] [--test-set CAMO] [--maps fpn=FOLDER …] [--csv FILE]

``RUN`` is a training's folder, a checkpoint, exported weights, or a CSV file that ``--csv`` has written. Every image of
the hold-out, or of a test set, gets prompts from :mod:`src.data.simulated_prompts`, right and wrong ones, and the
maps of other methods (``--maps NAME=FOLDER``, PNG files with the names of the images). A network that was trained with
prompts uses them in every stage; any other network only in the closing step, here with several ν. The fusions combine
the prompt with the same network's own mask. Clicks are corrective: each method gets its own, one after another. One
table shows all networks, averaged over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor

from scripts.results.archive import PROTOCOL
from scripts.results.prompt_table import FUSIONS, OWN, SCORES, prompt_table
from src.checkpoints.shipped import path_of
from src.cli.command import console
from src.cli.script import ScriptParser
from src.data import prompts, simulated_prompts
from src.data.maps import read_map
from src.data.prompts import Click, Mask, PromptMaps
from src.models.outputs import RUNOutput, masks_at_size
from src.models.prompts import Prompt
from src.models.resample import pool, upsample
from src.models.run import RUN
from src.pipeline.reopen import load_trained_run
from src.prompting import Clicked, as_prompt, click_through
from src.report.files import check_new_file
from src.report.tables.table import markdown, terminal
from src.scoring.pool import WorkerPool
from src.scoring.scorer import MapScorer
from src.utils.errors import Problems
from src.utils.process import available_cores

NUS = (0.3, 1.0, 3.0, 10.0)
"""ν of the term in the closing step."""
CLICKS = (1, 3, 5)
"""The numbers of clicks after which a mask is scored."""
NEEDS_A_MASK = ("prompt alone", "own × prompt", "sharpened average")
"""Fusions that need a prompt in the form of a mask, so that clicks cannot be used."""
BEST = Path("checkpoints") / "best.ckpt"


class Given(NamedTuple):
    """The prompt of one image in the forms that the methods need, at the network's input size.

    Attributes:
        prompt: for the term in the objective.
        belief: for a sum of logits: the probability of the object, (1,1,S,S) in [0,1]; one half: unknown.
        shown: for the fusions that need a mask, (1,1,S,S) in [0,1]; None for clicks.
    """

    prompt: Prompt
    belief: Tensor
    shown: Tensor | None

    @classmethod
    def of_box(cls, maps: PromptMaps) -> Given:
        """Return the forms of a box: the object may be anywhere inside."""
        prompt = as_prompt([maps])
        return cls(prompt, 0.5 - 0.5 * prompt.certainty, 1 - prompt.certainty / prompts.TRUST)

    @classmethod
    def of_map(cls, map_: prompts.Map, trust: float = prompts.TRUST) -> Given:
        """Return the forms of a map; a trust below the usual one also weakens the map for the fusions."""
        prompt = as_prompt([prompts.from_map(map_, trust)])
        belief = 0.5 + trust / prompts.TRUST * (prompt.target - 0.5)
        return cls(prompt, belief, belief)

    @classmethod
    def of_clicks(cls, maps: PromptMaps) -> Given:
        """Return the forms of clicks."""
        prompt = as_prompt([maps])
        return cls(prompt, 0.5 + prompt.certainty * (prompt.target - 0.5), None)


Answer = Callable[[Given], Tensor]
"""A method: the prompt of an image → logits (1,1,S,S)."""


def answers(net: RUN, image: Tensor) -> tuple[dict[str, Answer], Tensor]:
    """Return every method by its name in the table, and the logits without a prompt, for an image (1,3,S,S)."""
    features = net.encode(image)
    output = net.unfold(features, image)
    own = output.mask_logits
    found: dict[str, Answer] = {}
    if net.prompt_term is not None:
        found["term in every stage"] = lambda given: net.unfold(features, image, prompt=given.prompt).mask_logits
    elif net.mask_steps:
        for nu in NUS:
            name = f"term in the closing step, ν = {nu:g}"
            found[name] = lambda given, nu=nu: closing_logits(net, image, output, given.prompt, nu)  # type: ignore[misc]
    rivals: list[Answer] = [
        lambda given: _logit(_read(given)),
        lambda given: _logit(own.sigmoid() * _read(given)),
        lambda given: own + _logit(given.belief),
        lambda given: 2 * _logit((own.sigmoid() + _read(given)) / 2),
    ]
    return found | dict(zip(FUSIONS[1:], rivals, strict=True)), own


def closing_logits(net: RUN, image: Tensor, output: RUNOutput, prompt: Prompt, nu: float) -> Tensor:
    """Return the logits (N,1,H,W) of a closing step with the prompt's term, after stages without it.

    Args:
        net: a network with a mask step.
        image: (N,3,H,W) in [0,1].
        output: ``net(image)``.
        prompt: the prompt.
        nu: ν, the weight of the term.
    """
    said = prompt.pooled(net.unfold_stride)
    mask_prev, mask = (logits.sigmoid() for logits in output.stage_logits[-2:])
    small, background = pool(image, net.unfold_stride), output.backgrounds[-1]
    state = (small, background, mask, mask_prev, said.target, nu * said.certainty)
    closing, _ = net.mask_steps[-1](*state, is_closing=True)
    logits = torch.logit(closing.clamp(0.001, 0.999))
    return upsample(logits, net.unfold_stride, (image.shape[-2], image.shape[-1]))


def _read(given: Given) -> Tensor:
    assert given.shown is not None
    return given.shown


def _logit(map_: Tensor) -> Tensor:
    return torch.logit(map_.clamp(0.01, 0.99))


class Case(NamedTuple):
    """One image that is measured: name, input (1,3,S,S), mask, valid pixels, and the mask of another image."""

    name: str
    image: Tensor
    mask: Tensor
    valid: Tensor | None
    other: Mask


def givens(case: Case, folders: Mapping[str, Path]) -> Iterator[tuple[str, Given]]:
    """Yield name and forms of every prompt but clicks: from the true mask, from other methods, and wrong ones."""
    size, mask = (case.image.shape[-2], case.image.shape[-1]), case.mask.numpy()
    for kind in simulated_prompts.TRUTHFUL:
        maps = simulated_prompts.truthful(kind, mask, size, case.name)
        yield kind, Given.of_map(maps.target) if kind.startswith("coarse") else Given.of_box(maps)
    rng = simulated_prompts.seeded("wrong", case.name)
    yield "another image's box", Given.of_box(simulated_prompts.box(case.other, size, 0.0, rng))
    for kind, shown in (("another image's map", case.other), ("the inverted map", ~mask)):
        map_ = simulated_prompts.coarse_map(shown, size, 1, rng)
        yield f"{kind}, trust {simulated_prompts.WRONG_TRUST}", Given.of_map(map_, simulated_prompts.WRONG_TRUST)
    for name, folder in folders.items():
        read = torch.from_numpy(read_map(_map_file(folder, case.name)))[None, None].float()
        shrunk = F.interpolate(read, size, mode="bilinear", antialias=True).clamp(0, 1)
        yield f"{name}'s map", Given.of_map(shrunk[0, 0].numpy())


def corrected(case: Case, answer: Answer, own: Tensor) -> Clicked:
    """Correct ``own``, the map without prompts (h, w), by one method with its own clicks."""
    size, mask = (case.image.shape[-2], case.image.shape[-1]), case.mask.numpy()

    def answered(made: Sequence[Click]) -> Tensor:
        given = Given.of_clicks(prompts.clicked(made, size, picture=mask.shape))
        return masks_at_size(answer(given), [case.mask])[0]

    return click_through(mask, own, answered, max(CLICKS), True if case.valid is None else case.valid.numpy())


@torch.no_grad()
def measure(
    checkpoint: Path, data: Path | None, folders: Mapping[str, Path], images: int | None, test_set: str | None = None
) -> pd.DataFrame:
    """Return scores, one row per prompt, method and image of a network's hold-out or of a test set.

    Args:
        checkpoint: a checkpoint of RUN, or exported weights.
        data: data.root, if it differs from the training's.
        folders: name of another method → folder of its maps.
        images: number of images to use, from the first; None: all.
        test_set: the test set to measure on; None: the hold-out.

    Raises:
        UserError: not a checkpoint of RUN, data that cannot be used, or missing maps.
    """
    net, config, datamodule = load_trained_run(checkpoint, data, test_set)
    cases = list(_cases(datamodule.test_dataloader()[0], images))
    Problems(_missing_maps(folders, [case.name for case in cases])).raise_all("maps are missing:")
    with WorkerPool(available_cores()) as pool_:
        scorer = MapScorer(PROTOCOL, (), pool_)
        shown = track(cases, "Measuring", console=Console(stderr=True))
        counts = pd.concat([_score(scorer, net, case, folders) for case in shown])
        scores = scorer.results()
    rows = pd.DataFrame(
        {"prompt": prompt, "method": method, **{name: row[name] for name in ("image", *SCORES)}}
        for prompt, methods in scores.items()
        for method, one in methods.items()
        for row in one.rows
    )
    about = {"prompted": net.prompt_term is not None, "seed": int(config.get("seed", 0)), "source": str(checkpoint)}
    about["dataset"] = datamodule.test_names[0]
    return rows.merge(counts, how="left").assign(**about)


def _score(scorer: MapScorer, net: RUN, case: Case, folders: Mapping[str, Path]) -> pd.DataFrame:
    """Score one image with every prompt and method; return how many clicks each method needed."""

    def add(prompt: str, maps: Mapping[str, Tensor]) -> None:
        scorer.add(prompt, case.name, lambda: maps, case.mask, case.valid)

    def at_size(logits: Tensor) -> Tensor:
        return masks_at_size(logits, [case.mask])[0]

    ways, own = answers(net, case.image)
    add("nothing", {OWN: at_size(own)})
    for name, given in givens(case, folders):
        add(name, {way: at_size(answer(given)) for way, answer in ways.items()})
    clicked = {way: corrected(case, ways[way], at_size(own)) for way in ways if way not in NEEDS_A_MASK}
    for count in CLICKS:
        add(f"clicks_{count}", {way: one.maps[: count + 1][-1] for way, one in clicked.items()})
    needed = [{"method": way, "clicks": one.needed} for way, one in clicked.items()]
    return pd.DataFrame(needed).assign(prompt=f"clicks_{max(CLICKS)}", image=case.name)


def _cases(loader: Any, images: int | None) -> list[Case]:
    found: list[Case] = []
    for batch in loader:
        valid = batch.get("valid") or [None] * len(batch["mask"])
        for i, name in enumerate(batch["name"]):
            found.append(Case(name, batch["image"][i : i + 1], batch["mask"][i], valid[i], batch["mask"][i].numpy()))
        if images is not None and len(found) >= images:
            break
    found = found[:images]
    return [case._replace(other=found[(i + 1) % len(found)].other) for i, case in enumerate(found)]


def _missing_maps(folders: Mapping[str, Path], names: Sequence[str]) -> list[str]:
    return [
        f"--maps {label}={folder}: no map of {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
        for label, folder in folders.items()
        if (missing := [name for name in names if not _map_file(folder, name).is_file()])
    ]


def _map_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.png"


def _rows(source: Path, arguments: argparse.Namespace, folders: Mapping[str, Path]) -> pd.DataFrame:
    if source.suffix == ".csv":
        return pd.read_csv(source)
    checkpoint = source / BEST if source.is_dir() else source
    return measure(checkpoint, arguments.data_root, folders, arguments.images, arguments.test_set)


def _measure_all(arguments: argparse.Namespace) -> None:
    problems = [f"{source}: does not exist" for source in arguments.sources if not source.exists()]
    problems += [f"--maps {given}: expected NAME=FOLDER" for given in arguments.maps if "=" not in given]
    problems += [] if arguments.csv is None else check_new_file("--csv", arguments.csv)
    Problems(problems).raise_all()
    folders = {name: Path(folder) for name, folder in (given.split("=", 1) for given in arguments.maps)}
    rows = pd.concat([_rows(source, arguments, folders) for source in arguments.sources], ignore_index=True)
    if arguments.csv is not None:
        rows.to_csv(arguments.csv, index=False)
    table = prompt_table(rows)
    if arguments.markdown:
        print(markdown(table))
    else:
        console().print(terminal(table))


def main() -> None:
    """Run the command line of :func:`measure`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("sources", nargs="+", type=path_of, metavar="RUN")
    parser.add_data_root(of_training=True)
    parser.add_argument("--maps", nargs="*", default=[], metavar="NAME=FOLDER", help="maps of other methods")
    parser.add_argument("--test-set", metavar="NAME", help="measure on this test set instead of the hold-out")
    parser.add_argument("--images", type=int, help="use only the first N images")
    parser.add_argument("--csv", type=Path, help="write the scores of every image to this file")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.run(_measure_all)


if __name__ == "__main__":
    main()
