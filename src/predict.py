"""Segment pictures and videos: ``python -m src.predict ckpt_path=FILE input=FILES output=FOLDER``.

`conf/predict.yaml` has all settings.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from src.cli.command import command, console
from src.utils.failures import explained
from src.utils.memory import release_freed, share_heap

if TYPE_CHECKING:
    from src.inference.files import Report
    from src.inference.plan import Plan
    from src.inference.predictor import Predictor

SKIPPED_STATUS = 3
"""Exit status if files were skipped (``on_error=skip``) and everything else is written."""
INTERRUPTED_STATUS = 130
"""Exit status after Ctrl-C: 128 + SIGINT."""


def predict(cfg: DictConfig) -> Report:
    """Write what ``type=`` asks for of each picture or video, at its own size.

    Raises:
        UserError: mistakes in the settings, no picture, unreadable pictures, or files that would be overwritten, all
            found before the network is loaded; or an output that cannot be written.
    """
    share_heap()
    from src.inference.plan import make_plan
    from src.inference.predictor import Predictor

    plan = make_plan(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    predictor = Predictor(plan.network, options=plan.settings.options, batch_size=plan.settings.batch_size)
    release_freed()
    with explained(f"batch_size={plan.settings.batch_size} and data.image_size={predictor.network.image_size}"):
        return _to_stream(predictor, plan) if plan.outputs is None else _to_files(predictor, plan)


def _to_stream(predictor: Predictor, plan: Plan) -> Report:
    from src.inference.files import Report, predict_to_stream

    predict_to_stream(predictor, plan.sources[0], plan.settings, sys.stdout.buffer)
    return Report(pictures=1)


def _to_files(predictor: Predictor, plan: Plan) -> Report:
    from src.inference.files import FileRunner
    from src.inference.job import PredictionJob
    from src.inference.progress import Progress

    assert plan.outputs is not None
    out, start = console(), time.perf_counter()
    with Progress(out) as progress:
        try:
            report = FileRunner(PredictionJob(predictor, plan.outputs, plan.settings, progress)).run(plan.sources)
        except KeyboardInterrupt:
            print("interrupted: what is written is whole; overwrite=missing does the rest", file=sys.stderr)
            sys.exit(INTERRUPTED_STATUS)
    rate, size = report.pictures / (time.perf_counter() - start), predictor.network.image_size
    kept = f"; {report.kept} more were there already" if report.kept else ""
    written = f"{report.pictures} maps" if plan.settings.types == ("map",) else f"{report.pictures} pictures"
    out.print(
        f"Written: {written} to {plan.outputs.folder}/ ({rate:.1f} images/s at {size} × {size} px){kept}",
        highlight=False,
    )
    if any(one.source.is_video for one in plan.sources) and not plan.outputs.frames:
        out.print("Videos are written without sound.", highlight=False)
    report.skipped[:0] = plan.skipped
    if report.skipped:
        print(f"Skipped {len(report.skipped)}:", *(f"  - {line}" for line in report.skipped), sep="\n", file=sys.stderr)
    return report


@command("predict")
def main(cfg: DictConfig) -> None:
    """Run the command line of :func:`predict`."""
    if predict(cfg).skipped:
        sys.exit(SKIPPED_STATUS)


if __name__ == "__main__":
    main()
