"""Segment many files: every thread takes a picture through decoding, network and encoding while others do the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from src.data.readers import read_whole_header
from src.inference.encoding import LARGEST_WEBP
from src.inference.inputs import Source
from src.inference.job import PredictionJob, encoded
from src.inference.predictor import Predictor, Prepared
from src.inference.prompts import NOTHING, Said
from src.inference.settings import NOT_OF_VIDEOS, PredictSettings
from src.inference.video_files import predict_video
from src.inference.workers import Room, in_chunks
from src.utils.errors import UserError

PIXELS_AT_ONCE = 16_000_000
"""Pixels that all threads may decode at a time: 48 MB, and as much again inside the decoder of a progressive JPEG."""


class Checked(NamedTuple):
    """A source that can be opened, its number of pixels (0: not known beforehand), and its prompt."""

    source: Source
    pixels: int
    said: Said = NOTHING


@dataclass
class Report:
    """What a prediction has done.

    Attributes:
        written: the first output of each source that has one, in the sources' order.
        pictures: how many pictures and frames were segmented.
        skipped: one line per source that could not be read.
        kept: number of sources whose outputs all existed already.
    """

    written: list[Path] = field(default_factory=list)
    pictures: int = 0
    skipped: list[str] = field(default_factory=list)
    kept: int = 0


def check_sources(sources: Sequence[Source], settings: PredictSettings) -> tuple[list[Checked], list[str]]:
    """Look at each file's header.

    Returns:
        What can be opened, and one line per problem.
    """
    checked, problems = [], []
    for source in sources:
        try:
            checked.append(Checked(source, _pixels(source, settings)))
        except UserError as error:
            problems.append(str(error))
    return checked, problems


def _pixels(source: Source, settings: PredictSettings) -> int:
    if source.path is None:
        return 0
    if source.is_video:
        unfit = [kind for kind in settings.types if kind in NOT_OF_VIDEOS]
        if unfit and not settings.frames:
            raise UserError(f"{source.path}: no video holds type={','.join(unfit)}; frames=true writes files per frame")
        return 0
    width, height = read_whole_header(source.path).size
    if settings.file_format == "webp" and max(width, height) > LARGEST_WEBP:
        raise UserError(
            f"{source.path}: {width}×{height} pixels, and WebP holds at most {LARGEST_WEBP} on a side; take format=png"
        )
    return width * height


class FileRunner:
    """Runs a prediction job over many files.

    Args:
        job: the network, the outputs, the settings.
        workers: threads; None is one per core, up to 8.
    """

    def __init__(self, job: PredictionJob, workers: int | None = None) -> None:
        self.job, self._workers = job, workers
        self._room = Room(PIXELS_AT_ONCE)

    def run(self, sources: Sequence[Checked]) -> Report:
        """Segment all sources: pictures first, then one video after another.

        Raises:
            UserError: a file that cannot be read, unless such files are skipped; an output that cannot be written; or
                prompts for a network that takes none.
        """
        if any(not one.said.is_empty for one in sources):
            self.job.predictor.check_prompts()
        wanted = [one for one in sources if not self._is_done(one.source)]
        report = Report(kept=len(sources) - len(wanted))
        pictures = [one for one in wanted if not one.source.is_video]
        self.job.progress.expect(len(pictures))
        for problems in self.job.predictor.map(
            self._predict_chunk, in_chunks(pictures, self.job.predictor.batch_size), self._workers
        ):
            report.skipped += [problem for problem in problems if problem is not None]
            report.pictures += sum(problem is None for problem in problems)
            self.job.progress.advance(len(problems))
        for one in wanted:
            if one.source.is_video:
                self._predict_video(one.source, report)
        first = [next(iter(self.job.outputs.paths(one.source).values())) for one in sources]
        report.written = [path for path in first if path.exists()]
        return report

    def _is_done(self, source: Source) -> bool:
        return self.job.settings.only_missing and self.job.outputs.has_all(source)

    def _predict_chunk(self, chunk: Sequence[Checked]) -> list[str | None]:
        """Segment pictures in one call of the network; return for each what was wrong with it, or None."""
        problems: list[str | None] = [None] * len(chunk)
        prepared: dict[int, Prepared] = {}
        for index, one in enumerate(chunk):
            try:
                prepared[index] = self._prepared(one)
            except UserError as error:
                if not self.job.settings.skip_errors:
                    raise
                problems[index] = str(error)
        if prepared:
            results = self.job.predictor.run(list(prepared.values()))
            for (index, ready), result in zip(prepared.items(), results, strict=True):
                self.job.write(ready, result, self.job.outputs.paths(chunk[index].source))
        return problems

    def _prepared(self, one: Checked) -> Prepared:
        path = one.source.path
        with self._room.taken(one.pixels):
            return self.job.predictor.prepare(
                sys.stdin.buffer.read() if path is None else path, self.job.settings.needs_image, one.said
            )

    def _predict_video(self, source: Source, report: Report) -> None:
        try:
            count, shortage = predict_video(self.job, source)
        except UserError as error:
            if not self.job.settings.skip_errors:
                raise
            count, shortage = 0, str(error)
        report.pictures += count
        report.skipped += [shortage] if shortage else []


def predict_to_stream(predictor: Predictor, one: Checked, settings: PredictSettings, stream: BinaryIO) -> None:
    """Segment one picture and write its one output into a binary stream, such as standard output."""
    picture = sys.stdin.buffer.read() if one.source.path is None else one.source.path
    result, kind = predictor.run([predictor.prepare(picture, said=one.said)])[0], settings.types[0]
    stream.write(encoded(result, kind, "json" if kind == "json" else settings.file_format, settings))
    stream.flush()
