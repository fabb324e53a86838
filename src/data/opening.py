"""Open the sets that the settings name, and split the training images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from lightning.pytorch.utilities import rank_zero_warn

from src.data.cache import Cached
from src.data.layouts import SPLIT_FOLDERS, display_name, missing_set, unlabelled_split
from src.data.published_sets import Split, count_note, group_of, is_published
from src.data.settings import DataSettings
from src.data.sources import Concat, FolderPairs, Source, Subset
from src.data.splits import Holdout, fold_names, split_names
from src.data.verify.checks import open_set


class Parts(NamedTuple):
    """The training images, split: `train` to train on, `val` held out to validate, `test` held out to test."""

    train: Source
    val: Source
    test: Source

    @property
    def counts(self) -> tuple[int, int, int]:
        """Return the number of images of each part."""
        return len(self.train), len(self.val), len(self.test)


class FolderSets:
    """The folder sets of a data module.

    Attributes:
        trained: training sets that were opened.
        cached: the same, through their caches; empty without `data.cache`.
        notes: what reports must say about the sets, each once.
        readings: set and split → how its masks are read, in words.
    """

    def __init__(self, settings: DataSettings) -> None:
        self.settings = settings
        self.trained: list[FolderPairs] = []
        self.cached: list[Cached] = []
        self.notes: list[str] = []
        self.readings: dict[str, str] = {}

    def open_train(self, problems: list[str]) -> Parts:
        """Open the training sets and split them; append problems to `problems`."""
        settings = self.settings
        self.trained = list(self._open_each(problems))
        if not settings.train_sets:
            problems.append("data.train_sets is empty; name at least one set")
        self.cached = [Cached(source, settings.cached_size) for source in self.trained] if settings.cache else []
        whole = Concat(self.cached or self.trained, [source.name for source in self.trained])
        return Parts(*(Subset(whole, indices) for indices in held_out(settings, self.trained)))

    def open_tests(self, problems: list[str]) -> dict[str, Source]:
        """Open the test sets, by name in the order asked for; append problems to `problems`."""
        settings, found = self.settings, dict[str, Source]()
        for name in settings.test_sets:
            source = self._open("test", name, problems, settings.image_size, settings.exif)
            if source is not None:
                self.note(count_note(source.name, "test", len(source)))
                found[source.name] = source
        absent = [name for name in settings.test_sets if display_name(settings.root, name) not in found]
        self._report_absent(absent, bool(found), problems)
        return found

    def overlaps(self, tests: Mapping[str, Source]) -> list[str]:
        """Return one problem per test set whose files are also those of a training set."""
        trained = {source.folders: source.name for source in self.trained}
        return [
            f"{source.folders.images}: is the training set {trained[source.folders]} and the test set {name}; "
            "take it out of one, or hold out a part of it with data.test_fraction"
            for name, source in tests.items()
            if isinstance(source, FolderPairs) and source.folders in trained
        ]

    def build_caches(self) -> None:
        """Write the missing caches, until `data.cache_gb` is full."""
        taken = 0
        for source in self.cached:
            self.note(source.build(int(self.settings.cache_gb * 1e9), taken))
            taken += source.stored_bytes()

    def note(self, note: str | None) -> None:
        """Warn once, and keep the note for the reports; do nothing for None."""
        if note is not None and note not in self.notes:
            self.notes.append(note)
            rank_zero_warn(note)

    def _open(self, split: Split, name: str, problems: list[str], size: int, exif: bool = True) -> FolderPairs | None:
        settings, notes = self.settings, list[str]()
        source = open_set(
            settings.root,
            split,
            name,
            problems,
            notes,
            settings.shrink_to(size),
            exif,
            settings.ignore_value,
            settings.own_names,
        )
        for note in notes:
            self.note(note)
        if source is not None and source.reading:
            self.readings[f"{source.name}-{split.capitalize()}"] = source.reading
        return source

    def _open_each(self, problems: list[str]) -> Iterator[FolderPairs]:
        settings = self.settings
        for name in settings.train_sets:
            source = self._open("train", name, problems, max(settings.train_sizes))
            if source is None:
                problems.append(missing_set(settings.root, "train", name))
            else:
                self.note(count_note(source.name, "train", len(source)))
                yield source

    def _report_absent(self, absent: Sequence[str], some_found: bool, problems: list[str]) -> None:
        root, unknown = self.settings.root, [name for name in absent if not is_published(name)]
        problems.extend(missing_set(root, "test", name) for name in (unknown if some_found else absent))
        if absent and not some_found:
            problems.extend(self._unlabelled(absent))
            problems.append(
                f"{root / SPLIT_FOLDERS['test']}: none of the test sets exists; data.test_sets=[] works without"
            )
        elif absent and not unknown:
            found = f"test sets not found under {root / SPLIT_FOLDERS['test']}, left out: {', '.join(absent)}"
            self.note("; ".join([found, *self._unlabelled(absent)]))

    def _unlabelled(self, absent: Sequence[str]) -> list[str]:
        lines = [unlabelled_split(self.settings.root, "test", name) for name in absent]
        return [line for line in lines if line is not None]


def held_out(settings: DataSettings, sources: Sequence[FolderPairs]) -> Holdout:
    """Return the indices into the joined training sets that train, validate and test.

    Invalid split settings are reported elsewhere; here all images then train, so that the sets can be opened and
    checked.
    """
    if settings.split_problems():
        return Holdout(list(range(sum(map(len, sources)))), [], [])
    groups = [group_of(source.name, name, settings.groups) for source in sources for name in source.names]
    if settings.folds is not None:
        return fold_names(groups, settings.fold, settings.folds)
    return split_names(
        groups, settings.val_fraction if settings.selection == "holdout" else 0.0, settings.test_fraction
    )
