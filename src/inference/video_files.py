"""Segment a video: into videos of the same frame times, or into a file per frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.inference.inputs import Source
from src.inference.job import PredictionJob
from src.inference.outputs import TIMES, writing
from src.inference.pictures import Picture
from src.inference.video import Frame, VideoReader, VideoWriter
from src.inference.workers import in_chunks
from src.utils.errors import UserError


class _Numbered(NamedTuple):
    number: int
    frame: Frame


class _Drawn(NamedTuple):
    pictures: Mapping[str, np.ndarray]
    seconds: float


def predict_video(job: PredictionJob, source: Source) -> tuple[int, str | None]:
    """Segment all frames of a video and write its outputs.

    Returns:
        The number of frames, and in words what is missing, if the video is cut short and the job skips errors; else
        None.

    Raises:
        UserError: a video that cannot be opened, holds no frame or is cut short; nothing is then written under its
            name.
    """
    assert source.path is not None
    reader = VideoReader(source.path)
    job.progress.expect(reader.header.count)
    paths = job.outputs.paths(source)
    for path in paths.values():
        job.outputs.check(path)
    if job.outputs.frames:
        _write_frames(job, reader, paths)
    else:
        _write_videos(job, reader, paths)
    return reader.read, reader.shortage()


def _write_videos(job: PredictionJob, reader: VideoReader, paths: Mapping[str, Path]) -> None:
    settings = job.settings

    def draw(chunk: Sequence[_Numbered]) -> list[_Drawn]:
        results = job.predictor.segment([Picture("", one.frame.image) for one in chunk])
        pictures = [
            {kind: result.drawn(kind, settings.background, settings.threshold) for kind in paths} for result in results
        ]
        return [_Drawn(drawn, one.frame.seconds) for drawn, one in zip(pictures, chunk, strict=True)]

    with ExitStack() as stack:
        for path in paths.values():
            stack.enter_context(writing(path))
        writers = {kind: stack.enter_context(VideoWriter(path, reader.header.rate)) for kind, path in paths.items()}
        for drawn in _through(job, draw, reader):
            for kind, picture in drawn.pictures.items():
                writers[kind].add(picture, drawn.seconds)
        _check_whole(job, reader)


def _write_frames(job: PredictionJob, reader: VideoReader, folders: Mapping[str, Path]) -> None:
    def write(chunk: Sequence[_Numbered]) -> list[str]:
        for one in chunk:
            paths = {kind: folder / f"{one.number:06d}.{job.outputs.suffix(kind)}" for kind, folder in folders.items()}
            if not (job.settings.only_missing and all(path.is_file() for path in paths.values())):
                prepared = job.predictor.prepare(Picture(f"{reader.path.name} {one.number}", one.frame.image))
                job.write(prepared, job.predictor.run([prepared])[0], paths)
        return [f"{one.number},{one.frame.seconds:.6f}\n" for one in chunk]

    lines = list(_through(job, write, reader))
    _check_whole(job, reader)
    job.outputs.write(next(iter(folders.values())) / TIMES, ("frame,seconds\n" + "".join(lines)).encode())


def _through(job: PredictionJob, function: Callable[[Sequence[_Numbered]], list], reader: VideoReader) -> Iterator:
    """Yield the function's result for each frame, in order, computed by the predictor's threads."""
    numbered = (_Numbered(number, frame) for number, frame in enumerate(reader, start=1))
    for done in job.predictor.map(function, in_chunks(numbered, job.predictor.batch_size)):
        job.progress.advance(len(done))
        yield from done


def _check_whole(job: PredictionJob, reader: VideoReader) -> None:
    shortage = reader.shortage()
    if shortage and (not job.settings.skip_errors or not reader.read):
        raise UserError(f"{shortage}; on_error=skip keeps the readable frames")
