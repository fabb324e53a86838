"""Where the outputs of `src.predict` go; none of them ever overwrites an input.

    OUTPUT/NAME.png             the map
    OUTPUT/cutout/NAME.png      each other type in a folder of its own: cutout, overlay, on, json, stages
    OUTPUT/NAME.mp4             of a video; with ``frames=true`` OUTPUT/NAME/000001.png … and OUTPUT/NAME/times.csv

NAME includes the subfolders of a recursive input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from src.inference.inputs import Source
from src.utils.errors import UserError
from src.utils.protected import Protected
from src.utils.whole_file import write_whole

STAGES = "stages"
"""The type of the pictures that show what each stage of RUN made of the mask; always PNG."""
VIDEO_SUFFIX = ".mp4"
TIMES = "times.csv"
"""Table beside a video's frames: the time of each frame in seconds; it is written last."""


@dataclass(frozen=True)
class Outputs:
    """The outputs' folder and kinds.

    Attributes:
        folder: where they go.
        types: of `src.inference.results.TYPES`, and `STAGES`.
        file_format: ``png`` or ``webp``.
        frames: whether a video's frames become files of their own.
        protected: what is never written.
    """

    folder: Path
    types: Sequence[str]
    file_format: str = "png"
    frames: bool = False
    protected: Protected = field(default_factory=lambda: Protected([]))

    def paths(self, source: Source) -> dict[str, Path]:
        """Return type → file of a source; if a video's frames become files, type → their folder."""
        return {kind: self._folder(kind) / f"{source.name}{self._suffix(kind, source)}" for kind in self.types}

    def has_all(self, source: Source) -> bool:
        """Return whether all outputs of a source exist and are not empty; for a video's frames, their table of times.

        A machine that loses its power can leave empty files.
        """
        paths = list(self.paths(source).values())
        last = [paths[0] / TIMES] if source.is_video and self.frames else paths
        return all(path.exists() and path.stat().st_size > 0 for path in last)

    def _folder(self, kind: str) -> Path:
        return self.folder if kind == "map" else self.folder / kind

    def _suffix(self, kind: str, source: Source) -> str:
        if source.is_video:
            return "" if self.frames else VIDEO_SUFFIX
        return f".{self.suffix(kind)}"

    def suffix(self, kind: str) -> str:
        """Return the suffix of a picture's output, without the dot."""
        return {"json": "json", STAGES: "png"}.get(kind, self.file_format)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file, whole or not at all.

        Raises:
            UserError: it would replace an input, or the folder is not writable.
        """
        self.check(path)
        with writing(path):
            write_whole(path, content)

    def check(self, path: Path) -> None:
        """Raise a UserError if a file at this path would replace an input."""
        if self.protected.holds(path):
            raise UserError(f"output: {path} is an input; choose another folder")

    def problems(self, sources: Sequence[Source], overwrite: bool) -> list[str]:
        """Return one line per reason why these sources cannot be written here."""
        if self.folder.exists() and not self.folder.is_dir():
            return [f"output: {self.folder} is a file; name a folder"]
        targets = [(source, path) for source in sources for path in self.paths(source).values()]
        problems = [
            f"output: {path} is an input; choose another folder" for _, path in targets if self.protected.holds(path)
        ]
        problems += _shared(targets)
        existing = (
            [] if overwrite else [path for _, path in targets if path.exists() and not self.protected.holds(path)]
        )
        if existing:
            ways = "choose another folder, overwrite=true, or overwrite=missing for the others"
            problems.append(f"output: {existing[0]} exists ({len(existing)} such files); {ways}")
        return problems


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the path's folder; an OSError in the context becomes a UserError that says how to resume."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        way = "make room, then resume with overwrite=missing"
        raise UserError(f"output: {path} cannot be written: {error.strerror or error}; {way}") from error


def _shared(targets: Sequence[tuple[Source, Path]]) -> list[str]:
    """Return one line per file that two sources would both be written to."""
    first: dict[str, Source] = {}
    problems = []
    for source, path in targets:
        other = first.setdefault(str(path).casefold(), source)
        if other is not source:
            problems.append(f"input: {other.path} and {source.path} would both be written to {path}")
    return problems
