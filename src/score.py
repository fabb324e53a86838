"""Score the maps of any method: ``python -m src.score preds=FOLDER gts=FOLDER``, or several with ``spec=FILE.yaml``."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from src.cli.command import command, console
from src.utils.errors import Problems, UserError

if TYPE_CHECKING:
    from src.report.write import Report, ReportOptions
    from src.scoring.scores import SetScores


def score_maps_of(cfg: DictConfig) -> dict[str, list[SetScores]]:
    """Score the folders that ``cfg`` names and write the report into ``cfg.paths.output_dir``, whole or not at all.

    Returns:
        Data set → the scores of its methods.

    Raises:
        UserError: everything wrong with settings, folders or files, at once; nothing is written then.
    """
    # Imported here: a mistake on the command line is reported sooner without them.
    from src.report.figures.gallery import Panel
    from src.report.maps import checked_spec, map_panels
    from src.report.write import Report
    from src.scoring.folders import ScoreSettings, score_all_files
    from src.scoring.pairing import find_problems, pair_files
    from src.scoring.pool import WorkerPool

    output, options, protocol = Path(cfg.paths.output_dir), instantiate(cfg.report), cfg.metrics.protocol
    start, problems, pool = time.perf_counter(), Problems(), WorkerPool(0)
    with problems.catch():
        pool = WorkerPool(cfg.workers)
    spec = checked_spec(cfg, options, problems)
    jobs = pair_files(spec, problems)
    with pool:
        problems += find_problems(jobs, pool)
        problems.raise_all(f"nothing was scored or written, {problems.total}:")
        results, notes = score_all_files(
            jobs, ScoreSettings(protocol, tuple(cfg.metrics.extra), cfg.ignore_value), pool, problems
        )
    problems.raise_all(f"nothing was scored or written, {problems.total}:")
    seconds = time.perf_counter() - start

    def panels(dataset: str, image: str) -> list[Panel]:
        return map_panels(jobs, dataset, image, protocol, cfg.ignore_value)

    report = Report(", ".join(spec.methods), protocol, results, panels, context=notes)
    _write_whole(output, report, options)
    count = sum(map(len, jobs.values()))
    speed = f"{count / seconds:.0f}/s, {pool.workers} workers"
    console().print(f"Scored: {count} map{'s' * (count != 1)} in {seconds:.1f} s ({speed})", highlight=False)
    console().print(
        f"Written: {output}/ (open report.html; tables: metrics.{{md,tex,csv}}; per_image.csv)", highlight=False
    )
    return results


def _write_whole(output: Path, report: Report, options: ReportOptions) -> None:
    """Write the report into a new folder, which appears only when it is complete."""
    from src.report.write import write_report

    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".") as partial:
        written = Path(partial) / output.name
        write_report(written, report, options, console())
        try:
            written.rename(output)
        except OSError as error:  # another process has made a folder of this name meanwhile
            why = f"{error.strerror}; choose another folder"
            raise UserError(f"paths.output_dir={output} cannot be made: {why}") from error


@command("score")
def main(cfg: DictConfig) -> Any:
    """Run the command line of :func:`score_maps_of`."""
    score_maps_of(cfg)


if __name__ == "__main__":
    main()
