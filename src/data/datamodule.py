"""COSDataModule: folder sets to data loaders, with the hold-out and every check made before any work starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import albumentations as A
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset

from src.data.cache import Cached
from src.data.dataset import COSDataset, COSEvalDataset, collate_eval
from src.data.description import describe
from src.data.layouts import SPLIT_FOLDERS, missing_root, missing_set
from src.data.published_sets import count_note, group_of, is_published
from src.data.sampler import EpochSampler, EvalSampler
from src.data.settings import part_problems, setting_problems, split_problems
from src.data.sources import Concat, FolderPairs, Source, Subset
from src.data.splits import Holdout, fold_names, split_names
from src.data.transforms import paper_recipe
from src.data.verify.checks import open_set
from src.distributed.signals import shield_worker
from src.utils.errors import UserError

HELD_OUT_TEST = "held-out"
HOLDOUT = "-holdout"


class COSDataModule(LightningDataModule):
    """Concealed object segmentation from folders, `<root>/{TrainDataset,TestDataset}/<SET>/{Imgs,GT}` (see `layouts`).

    Args:
        root: the folder that holds `TrainDataset` and `TestDataset`.
        train_sets, test_sets: names of sets (or one name); the training sets are joined, each test set has its own loader.
            Absent test sets of the field are skipped with a warning as long as one is there. `test_sets=[]`: no test.
        image_size: side of the square that the network sees, in pixels.
        batch_size: of a training step, per process; `eval_batch_size` (default: the same) for validation and test.
        val_fraction, test_fraction: parts of the training images held out by a hash of their names (`holdout.split_names`); the test
            part becomes one more test set, of the training set's name ("held-out" where a test set has it).
        folds, fold: cross-validation in the place of `val_fraction`: fold `fold` of `folds` validates (`holdout.fold_names`).
        groups: a pattern whose group 1 names what stays on one side of a split; known sets have their own rule (`tasks.group_of`).
        selection: what validation means. `holdout`: the held-out part. `field`: the first test set, as the literature does, and all
            training images train; `describe()` carries the word into every report.
        augmentation: makes the training transform for a size: a `transforms.Recipe`, which may ask for several sizes.
        fast_decode: decode a JPEG at a half, a quarter or an eighth of its size where that is still no smaller than `image_size`. Other
            pixels than by default, in training and evaluation; `describe()` says so.
        cache: keep decoded training (and validation) images in memory-mapped files (`cache.Cached`), at most `cache_gb` GB of them; the
            same bits as without. Written by one process before the first epoch (`prepare_data`).

    `setup` raises one `UserError` that lists everything wrong with the settings and the sets a stage needs: "fit" and "validate" need all
    of them (better a mistake before a long training than after), "test" the test sets only.
    """

    def __init__(
        self,
        root: str | Path,
        train_sets: Sequence[str] | str,
        test_sets: Sequence[str] | str,
        image_size: int = 352,
        batch_size: int = 36,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        val_fraction: float = 0.1,
        test_fraction: float = 0.0,
        folds: int | None = None,
        fold: int = 0,
        groups: str | None = None,
        selection: Literal["holdout", "field"] = "holdout",
        augmentation: Callable[[int], A.Compose] = paper_recipe,
        fast_decode: bool = False,
        cache: bool = False,
        cache_gb: float = 20.0,
        pin_memory: bool = False,
        persistent_workers: bool = True,
    ) -> None:
        super().__init__()
        self.root = Path(root)
        self.train_sets, self.test_sets = _as_list(train_sets), _as_list(test_sets)
        self.image_size = image_size
        self.batch_size = batch_size
        self.eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        self.num_workers = num_workers
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.folds, self.fold, self.groups = folds, fold, groups
        self.selection = selection
        self.augmentation, self.fast_decode = augmentation, fast_decode
        self.cache, self.cache_gb = cache, cache_gb
        self._trained: list[FolderPairs] = []
        self._cached: list[Cached] = []
        self.pin_memory, self.persistent_workers = pin_memory, persistent_workers
        self.notes: list[str] = []
        self._resume_at = (0, 0)
        self._parts: tuple[Source, Source, Source] | None = None
        self._tests: dict[str, Source] | None = None
        self._tests_holdout = False

    # The two methods that a data module over other sources replaces.

    def open_train(self, problems: list[str]) -> tuple[Source, Source, Source]:
        """Training, held-out validation and held-out test part."""
        pairs = []
        for name in self.train_sets:
            source = open_set(self.root, "train", name, problems, self._shrink_to(max(self._train_sizes())))
            if source is None:
                problems.append(missing_set(self.root, "train", name))
            else:
                self._note(count_note(name, "train", len(source)))
                pairs.append(source)
        if not self.train_sets:
            problems.append("data.train_sets is empty; name at least one set")
        self._trained = pairs
        self._cached = [Cached(source, self._cached_size()) for source in pairs] if self.cache else []
        whole = Concat(self._cached or pairs)
        train, val, test = (Subset(whole, indices) for indices in self._held_out(pairs))
        return train, val, test

    def open_tests(self, problems: list[str]) -> dict[str, Source]:
        """Test sets by name, in the order asked for."""
        found: dict[str, Source] = {}
        absent = []
        for name in self.test_sets:
            source = open_set(self.root, "test", name, problems, self._shrink_to(self.image_size))
            if source is None:
                absent.append(name)
            else:
                self._note(count_note(name, "test", len(source)))
                found[name] = source
        unknown = [name for name in absent if not is_published(name)]
        problems.extend(missing_set(self.root, "test", name) for name in (unknown if found else absent))
        if absent and not found:
            problems.append(f"{self.root / SPLIT_FOLDERS['test']}: none of the test sets is there; data.test_sets=[] works without")
        elif absent and not unknown:
            self._note(f"test sets not found under {self.root / SPLIT_FOLDERS['test']}, left out: {', '.join(absent)}")
        return found

    def prepare_data(self) -> None:
        """Write the caches that are missing, in one process of each machine (Lightning calls this in no other)."""
        trains = self.trainer is None or self.trainer.state.fn == "fit"
        if self.cache and trains:
            self.setup("fit")
            taken = 0
            for source in self._cached:
                self._note(source.build(int(self.cache_gb * 1e9), taken))
                taken += source.stored_bytes()

    def setup(self, stage: str | None = None) -> None:
        """Check and open what the stage needs; a second call does nothing."""
        problems = setting_problems(self)
        if not self.root.is_dir():
            problems.append(missing_root(self.root))
        else:
            self._open(stage, problems)
        problems = list(dict.fromkeys(problems))
        if problems:
            self._parts = self._tests = None
            count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
            raise UserError(f"the data cannot be used, {count}:", problems)

    def _open(self, stage: str | None, problems: list[str]) -> None:
        if stage == "predict":
            return
        if self._parts is None and (stage != "test" or self.test_fraction > 0):
            self._parts = self._checked_parts(problems)
        if self._tests is None:
            self._tests = self.open_tests(problems)
        if problems:
            return
        if self._parts is not None:
            problems.extend(self._overlaps())
        if self.selection == "field" and not self._tests:
            problems.append("data.selection=field validates on the first test set, and there is none; use data.selection=holdout")
        if stage == "test" and not self.test_names:
            problems.append("data.test_sets is empty and data.test_fraction is 0; nothing to test on")

    def _checked_parts(self, problems: list[str]) -> tuple[Source, Source, Source]:
        before = len(problems)
        train, val, test = self.open_train(problems)
        if len(problems) == before and not split_problems(self):
            problems.extend(part_problems(self, len(train), len(val), len(test)))
        return train, val, test

    def _held_out(self, pairs: Sequence[FolderPairs]) -> Holdout:
        if split_problems(self):  # reported with the other settings; the sets are opened all the same, to report theirs
            return Holdout(list(range(sum(map(len, pairs)))), [], [])
        groups = [group_of(source.name, name, self.groups) for source in pairs for name in source.names]
        if self.folds is not None:
            return fold_names(groups, self.fold, self.folds)
        return split_names(groups, self.val_fraction if self.selection == "holdout" else 0.0, self.test_fraction)

    def _overlaps(self) -> list[str]:
        """Test sets that are the very files that training reads."""
        trained = {source.folders: source.name for source in self._trained}
        return [
            f"{source.folders.images}: is the training set {trained[source.folders]} and the test set {name}; take it out of one, "
            "or hold out a part of it with data.test_fraction"
            for name, source in (self._tests or {}).items()
            if isinstance(source, FolderPairs) and source.folders in trained
        ]

    def _note(self, note: str | None) -> None:
        if note is not None and note not in self.notes:
            self.notes.append(note)
            rank_zero_warn(note)

    def test_on_holdout(self) -> None:
        """Set up with the held-out validation images as the only test set, `<training sets>-holdout`.

        Raises:
            UserError: what `setup` raises, or this training holds nothing out.
        """
        if self.selection != "holdout":
            raise UserError(f"data.selection={self.selection}: this training held nothing out; only its test sets can be read")
        self._tests_holdout = True
        self.setup("validate")
        if not self._opened_parts()[1]:
            raise UserError("data.val_fraction=0: this training held nothing out; only its test sets can be read")

    @property
    def validates(self) -> bool:
        """Whether there is anything to select a model on."""
        return self.selection == "field" or len(self._opened_parts()[1]) > 0

    @property
    def test_names(self) -> list[str]:
        """Names of the test sets, aligned with `test_dataloader()`."""
        return list(self._test_sources())

    def train_dataloader(self) -> DataLoader[Any]:
        train = self._opened_parts()[0]
        # An incomplete last batch can be a single image, which BatchNorm cannot train on; a set smaller than one batch must stay.
        ranks = self.trainer.world_size if self.trainer is not None else 1
        drop_last = len(train) > self.batch_size * ranks
        data = COSDataset(train, self.augmentation, self.image_size)
        epoch, batch = self._resume_at
        self._resume_at = (0, 0)
        sampler = EpochSampler(data, torch.initial_seed(), epoch, self._train_sizes(), self.batch_size, batch, drop_last)
        return DataLoader(data, batch_size=self.batch_size, sampler=sampler, drop_last=drop_last, **self._loader_options())

    def state_dict(self) -> dict[str, int]:
        """Where the training stands: the epoch, and the batches of it that the network has seen (workers have prefetched more)."""
        if self.trainer is None:
            return {}
        loop: Any = self.trainer.fit_loop
        epoch, batches = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current
        return {"epoch": epoch.processed, "batch": 0 if epoch.processed == epoch.ready else batches.processed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Start there. Lightning's own loops know the place too late: the workers have started by then."""
        self._resume_at = (state_dict["epoch"], state_dict["batch"])

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """The loader that selects the model; an empty list without validation."""
        if not self.validates:
            return []
        return self._eval_loader(next(iter(self._test_sources().values())) if self.selection == "field" else self._opened_parts()[1])

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """One loader a test set, in the order of `test_names`."""
        return [self._eval_loader(source) for source in self._test_sources().values()]

    def describe(self) -> dict[str, Any]:
        """Plain values for reports (`description.describe`)."""
        return describe(self)

    def part_counts(self) -> tuple[int, int, int] | None:
        """Images to train on, held out to validate and held out to test; None before they are set up."""
        return None if self._parts is None else (len(self._parts[0]), len(self._parts[1]), len(self._parts[2]))

    def test_counts(self) -> dict[str, int]:
        """Images of each test set that is set up."""
        return {name: len(source) for name, source in self._test_sources().items()}

    def selected_on(self) -> str:
        """What the best checkpoint is chosen on, in words."""
        if self.selection == "field":
            return f"test set {next(iter(self._test_sources()), '?')}, as the literature does"
        if self.folds is not None:
            return f"fold {self.fold} (of 0 to {self.folds - 1}) of the training images"
        return f"held-out {self.val_fraction:.0%} of the training images" if self.val_fraction else "nothing, the last epoch counts"

    def _opened_parts(self) -> tuple[Source, Source, Source]:
        if self._parts is None:
            self.setup("fit")
        assert self._parts is not None
        return self._parts

    def _test_sources(self) -> dict[str, Source]:
        if self._tests_holdout:
            return {"+".join(self.train_sets) + HOLDOUT: self._opened_parts()[1]}
        sources = dict(self._tests or {})
        if self._parts is not None and len(self._parts[2]):
            name = "+".join(self.train_sets)
            sources[HELD_OUT_TEST if name in sources else name] = self._parts[2]
        return sources

    def _eval_loader(self, source: Source) -> DataLoader[Any]:
        data: Dataset[Any] = COSEvalDataset(source, self.image_size)
        sampler = EvalSampler(data)
        if len(data) < sampler.num_replicas:  # type: ignore[arg-type]
            raise UserError(f"{len(data)} images to evaluate on for {sampler.num_replicas} processes; use fewer devices")  # type: ignore[arg-type]
        options = self._loader_options(train=False)
        return DataLoader(data, batch_size=self.eval_batch_size, sampler=sampler, collate_fn=collate_eval, **options)

    def _cached_size(self) -> int | None:
        # Geometry that acts at the file's resolution needs the file's pixels; without any, the resized ones do.
        resizes_first = getattr(self.augmentation, "before", None) == [] and len(self._train_sizes()) == 1
        return self.image_size if resizes_first else None

    def _train_sizes(self) -> tuple[int, ...]:
        """The sides to train at, in pixels; several with a multi-scale recipe."""
        sizes = getattr(self.augmentation, "sizes", None)
        return (self.image_size,) if sizes is None else sizes(self.image_size)

    def _shrink_to(self, size: int) -> int | None:
        return size if self.fast_decode else None

    def _loader_options(self, train: bool = True) -> dict[str, Any]:
        # Evaluation loaders run once or seldom: their workers would sit on memory between the epochs.
        persistent = train and self.persistent_workers and self.num_workers > 0
        # A generator of its own: a loader that draws from the global one shifts the network's random numbers when it starts anew.
        own = {"generator": torch.Generator(), "worker_init_fn": shield_worker}
        return own | {"num_workers": self.num_workers, "pin_memory": self.pin_memory, "persistent_workers": persistent}


def _as_list(names: Sequence[str] | str) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
