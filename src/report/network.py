"""The report of a network's test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from src.checkpoints.weights_file import SUFFIX
from src.data.published_sets import count_note
from src.models.wrappers import network_name, unwrapped, variant_of
from src.module import COSModule
from src.prompting import ENOUGH, MOST_CLICKS
from src.report.figures.gallery import Panel
from src.report.figures.network_panels import network_panels
from src.report.write import Report, ReportOptions, write_report


def write_results(
    output_dir: Path,
    module: COSModule,
    datamodule: Any,
    ckpt_path: Path | None,
    console: Console,
    options: ReportOptions | None = None,
) -> None:
    """Write the report (`report.write_report`) of a test into ``output_dir`` and print its tables.

    Args:
        output_dir: where the report goes.
        module: after ``trainer.test``: its ``test_results`` are read.
        datamodule: ``describe()`` says what was tested and how the model was selected; the test loaders give the
            gallery's images.
        ckpt_path: the checkpoint that was tested, or None.
        console: where the tables are printed.
        options: columns, decimals and published rows; None: the defaults.
    """
    method = _method(module)
    stages = {
        dataset: [replace(one, method=method) for one in by_stage.values()]
        for dataset, by_stage in module.test_results.items()
    }
    results = {dataset: [replace(group[-1], map="")] for dataset, group in stages.items()}
    sources = dict(zip(datamodule.test_names, (loader.dataset for loader in datamodule.test_dataloader()), strict=True))
    indices = {dataset: {name: i for i, name in enumerate(sources[dataset].source.names)} for dataset in results}

    def panels(dataset: str, image: str) -> list[Panel]:
        return network_panels(module, sources[dataset][indices[dataset][image]])

    context = list(_context(datamodule.describe(), ckpt_path, module.config.get("released"), module.selection))
    if start := module.config.get("started_from"):
        context.append(f"The training began with the weights of another one ({start}).")
    context += [*_prompt_notes(module), *_variant_notes(module)]
    report = Report(f"{method}: test", module.val_metrics.protocol, results, panels, stages, context)
    write_report(output_dir, report, options or ReportOptions(), console)
    console.print(
        f"Written: {output_dir}/ (open report.html; tables: metrics.{{md,tex,csv}}; per_image.csv)", highlight=False
    )


def _variant_notes(module: COSModule) -> Iterable[str]:
    """Yield notes on how the network was evaluated, see :class:`src.models.variant.Variant`."""
    variant = variant_of(module.net)
    if variant.rounds > 1:
        magnified = "each further one magnifies the box around what was found, out of the same input"
        yield f"{variant.rounds} rounds: {magnified}."
    if variant.closing_step:
        yield "The final mask is M̂ of one more mask step after the last stage (closing_step)."
    if variant.flip:
        yield "The final mask is the mean of the logits of the image and of its mirror image (flip)."
    if variant.sharpness != 1:
        yield f"The logits of the final mask were multiplied by {variant.sharpness:g} (sharpness)."


def _prompt_notes(module: COSModule) -> Iterable[str]:
    """Yield notes on the prompts of the test."""
    if module.prompts is None:
        return
    term = "every stage" if getattr(unwrapped(module.net), "prompt_term", None) is not None else "the closing step"
    yield f"Prompts were made from the truth ({module.prompts}); they are a term of {term}."
    for dataset, needed in module.clicks.items():
        given_up = sum(count >= MOST_CLICKS for count in needed)
        yield (
            f"{dataset}: {sum(needed) / len(needed):.2f} corrective clicks on average until the IoU is {ENOUGH:g} "
            f"(NoC@{100 * ENOUGH:.0f}); 0 where the mask needs none, {MOST_CLICKS} where it takes so many or more "
            f"({given_up} of {len(needed)} images)."
        )


def _method(module: COSModule) -> str:
    """Return the network's label, written as for published rows: `RUN (pvt_v2_b4)`; with two rounds `RUN-2 (…)`."""
    encoder, rounds = module.config.get("encoder", {}).get("name"), variant_of(module.net).rounds
    return network_name(module.net) + (f"-{rounds}" if rounds > 1 else "") + (f" ({encoder})" if encoder else "")


def _context(
    data: Mapping[str, Any], ckpt_path: Path | None, released: str | None = None, selection: str | None = None
) -> Iterable[str]:
    """Yield sentences about input, checkpoint and data.

    Args:
        data: as the data module's ``describe()`` returns it.
        ckpt_path: the checkpoint, if there is one.
        released: which of the authors' files the weights are from, if they are from one.
        selection: what the weights were selected on; None: their file does not say.
    """
    size = f"{data['image_size']} × {data['image_size']} px"
    yield f"Input {size}; the network's map is brought bilinearly to the mask's size."
    if ckpt_path is not None:
        if selection is None and ckpt_path.suffix != SUFFIX:  # of an older version, which left it to the file's name
            selection = data["selected_on"] if ckpt_path.stem == "best" else ""
        chosen = (
            "" if selection is None else f", selected on: {selection}" if selection else ", not selected on anything"
        )
        source = (
            f", as the authors of RUN published it ({released}); how it was selected is not known"
            if released
            else chosen
        )
        yield f"Checkpoint: {ckpt_path.name}{source}."
    readings = {set_name: words for set_name, words in data.get("masks", {}).items() if set_name.endswith("-Test")}
    yield from (f"Masks of {set_name}: {words}." for set_name, words in readings.items())
    # These notes are under every table already.
    told = {count_note(dataset, "test", count) for dataset, count in data["test_images"].items()}
    yield from (f"{note}." for note in data["notes"] if note not in told)
