"""Videos: frames with their times in, a video or single frames out, in constant memory.

Sound is lost: OpenCV has none.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import cv2
import numpy as np

from src.utils.errors import UserError
from src.utils.whole_file import temporary_beside

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # our own errors report the same

CODEC = "mp4v"
"""MPEG-4: the best codec that OpenCV's wheels can write without a patented library."""
USUAL_RATE = 25.0
"""Frames per second that are assumed where a file does not say."""
MOST_MISSING = 0.01
"""Share of the frames by which a header may overcount: some containers only estimate the number."""


class Frame(NamedTuple):
    """One picture of a video: uint8 RGB (H, W, 3), and its time from the beginning in seconds."""

    image: np.ndarray
    seconds: float


@dataclass(frozen=True)
class VideoHeader:
    """What the header of a video says.

    Attributes:
        rate: frames per second.
        count: number of frames; 0 where the file does not say.
    """

    rate: float
    count: int


class VideoReader:
    """The frames of a video file, upright, one at a time.

    Raises:
        UserError: OpenCV cannot open it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise UserError(
                f"{path}: cannot be opened as a video; it may be cut short, or of a kind that OpenCV does not read"
            )
        rate, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        usable = math.isfinite(rate) and 0 < rate <= 1000
        self.header = VideoHeader(rate if usable else USUAL_RATE, max(0, int(count)))
        self.read = 0

    def __iter__(self) -> Iterator[Frame]:
        while True:
            is_there, image = self._capture.read()
            if not is_there:
                break
            seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            self.read += 1
            yield Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), seconds)
        self._capture.release()

    def shortage(self) -> str | None:
        """Return what is missing after the last frame, in words; None if the video was whole."""
        count = self.header.count
        if self.read and count - self.read <= max(1, MOST_MISSING * count):
            return None
        return f"{self.path}: ends after {self.read} of {count} frames; it is cut short"


class SteadyClock:
    """How often each frame must be written into a video of constant rate, so that everything keeps its time.

    >>> clock = SteadyClock(rate=10)
    >>> [clock.repeats(seconds) for seconds in (0.0, 0.1, 0.4, 0.41, 0.5)]
    [1, 1, 3, 0, 1]
    """

    def __init__(self, rate: float) -> None:
        self._rate, self._written = rate, 0

    def repeats(self, seconds: float) -> int:
        """Return how many frames bring the video to just after this time.

        0 drops a frame that comes too soon; 2 and more fill a gap.
        """
        repeats = max(0, round(seconds * self._rate) + 1 - self._written)
        self._written += repeats
        return repeats


class VideoWriter:
    """An MP4 file of constant rate, which appears under its name when it is whole; to be used as a context.

    Odd sides lose their last row or column, as the codec needs even sides.

    Raises:
        UserError: the folder is not writable, or fewer frames than written can be read back (the disk is full).
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self._rate = path, rate
        self._temporary = temporary_beside(path)
        self._writer: cv2.VideoWriter | None = None
        self._clock, self._count = SteadyClock(rate), 0

    def __enter__(self) -> VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Write a frame, uint8 grey (H, W) or RGB (H, W, 3), at its time."""
        frame = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR)
        if self._writer is None:
            self._writer = self._opened(frame.shape[1], frame.shape[0])
        for _ in range(self._clock.repeats(seconds)):
            self._writer.write(frame)
            self._count += 1

    def _opened(self, width: int, height: int) -> cv2.VideoWriter:
        writer = cv2.VideoWriter(str(self._temporary), cv2.VideoWriter_fourcc(*CODEC), self._rate, (width, height))  # type: ignore[attr-defined]
        if not writer.isOpened():
            raise UserError(
                f"output: {self.path} cannot be written: OpenCV opens no {CODEC} video of {width}×{height} pixels there"
            )
        return writer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        try:
            if kind is None:
                self._check()
                os.replace(self._temporary, self.path)
        finally:
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)

    def _check(self) -> None:
        """Count the frames that can be read back: OpenCV does not report a full disk."""
        capture = cv2.VideoCapture(str(self._temporary))
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if count < self._count:
            raise UserError(f"output: {self.path}: {count} of {self._count} frames could be written; is the disk full?")
