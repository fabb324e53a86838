"""COSDataModule: data loaders over folder sets and their hold-out; everything is checked before any work starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import albumentations as A
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from src.data.dataset import COSDataset, COSEvalDataset, collate_eval
from src.data.description import describe
from src.data.layouts import missing_root
from src.data.names import set_names
from src.data.opening import FolderSets, Parts
from src.data.prompt_recipe import PromptRecipe
from src.data.sampler import EpochSampler, EvalSampler
from src.data.settings import DataSettings
from src.data.shared_memory import shared_memory_problem
from src.data.sources import Source
from src.data.split_record import record
from src.data.transforms import paper_recipe
from src.distributed.signals import shield_worker
from src.utils.errors import Problems, UserError

HELD_OUT_TEST = "held-out"
HOLDOUT = "-holdout"


class COSDataModule(LightningDataModule):
    """Concealed object segmentation from folders, `<root>/{TrainDataset,TestDataset}/<SET>/{Imgs,GT}` (see `layouts`).

    `setup` raises one `UserError` that lists everything wrong with the settings and the sets that a stage needs: "fit"
    and "validate" need all of them (an error is better before a long training than after it), "test" the test sets.

    Args:
        root, …: see :class:`~src.data.settings.DataSettings`. A single set needs no list; `eval_batch_size` is
        `batch_size` by default.

    Attributes:
        settings: what it was made with.
        folders: the folder sets that have been opened.
    """

    def __init__(
        self,
        root: str | Path,
        train_sets: Sequence[str] | str,
        test_sets: Sequence[str] | str,
        images: str | None = None,
        masks: str | None = None,
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
        prompts: PromptRecipe | None = None,
        fast_decode: bool = False,
        exif: bool = True,
        ignore_value: int | None = None,
        cache: bool = False,
        cache_gb: float = 20.0,
        pin_memory: bool = False,
        persistent_workers: bool = True,
    ) -> None:
        super().__init__()
        self.settings = DataSettings(
            root=Path(root).expanduser(), train_sets=set_names(train_sets), test_sets=set_names(test_sets),
            images=images, masks=masks, image_size=image_size, batch_size=batch_size,
            eval_batch_size=batch_size if eval_batch_size is None else eval_batch_size, num_workers=num_workers,
            val_fraction=val_fraction, test_fraction=test_fraction, folds=folds, fold=fold, groups=groups,
            selection=selection, augmentation=augmentation, prompts=prompts, fast_decode=fast_decode, exif=exif,
            ignore_value=ignore_value, cache=cache, cache_gb=cache_gb, pin_memory=pin_memory,
            persistent_workers=persistent_workers,
        )  # fmt: skip
        self.folders = FolderSets(self.settings)
        self._parts: Parts | None = None
        self._tests: dict[str, Source] | None = None
        self._tests_holdout, self._resume_at = False, (0, 0)
        self._split_record: dict[str, str] | None = None

    # A data module over other sources overrides these two methods.

    def open_train(self, problems: list[str]) -> Parts:
        """Return the parts to train on and to hold out for validation and test; append problems to `problems`."""
        return self.folders.open_train(problems)

    def open_tests(self, problems: list[str]) -> dict[str, Source]:
        """Return the test sets by name, in the order asked for; append problems to `problems`."""
        return self.folders.open_tests(problems)

    def prepare_data(self) -> None:
        """Write the missing caches; Lightning calls this in one process per machine."""
        trains = self.trainer is None or self.trainer.state.fn == "fit"
        if self.settings.cache and trains:
            self.setup("fit")
            self.folders.build_caches()

    def setup(self, stage: str | None = None) -> None:
        """Check and open what the stage needs; a second call does nothing.

        Raises:
            UserError: everything wrong with the settings and the sets.
        """
        problems = Problems(self.settings.problems())
        if not self.settings.root.is_dir():
            problems.append(missing_root(self.settings.root))
        elif stage != "predict":
            self._open(stage, problems)
        if problems:
            self._parts = self._tests = None
        unique = Problems(dict.fromkeys(problems))
        unique.raise_all(f"the data cannot be used, {unique.total}:")

    def _open(self, stage: str | None, problems: list[str]) -> None:
        settings = self.settings
        if self._parts is None and (stage != "test" or settings.test_fraction > 0):
            self._parts = self._checked_parts(problems)
        if self._tests is None:
            self._tests = self.open_tests(problems)
        if problems:
            return
        if self._parts is not None:
            problems.extend(self.folders.overlaps(self._tests))
        if settings.selection == "field" and not self._tests:
            problems.append(
                "data.selection=field validates on the first test set, and there is none; use data.selection=holdout"
            )
        if stage == "test" and not self.test_names:
            problems.append("data.test_sets is empty and data.test_fraction is 0; nothing to test on")

    def _checked_parts(self, problems: list[str]) -> Parts:
        before = len(problems)
        parts = Parts(*self.open_train(problems))
        if len(problems) == before and not self.settings.split_problems():
            problems.extend(self.settings.part_problems(*parts.counts))
            if self.settings.prompts is not None and not self.settings.prompts.problems():
                problems.extend(self.settings.prompts.map_problems(parts.train.names))
        return parts

    def test_on_holdout(self) -> None:
        """Set up with the held-out validation images as the only test set, `<training sets>-holdout`.

        Raises:
            UserError: as in `setup`; or this training held nothing out.
        """
        selection = self.settings.selection
        if selection != "holdout":
            raise UserError(
                f"data.selection={selection}: this training held nothing out; only its test sets can be used"
            )
        self._tests_holdout = True
        self.setup("validate")
        if not self._opened_parts().val:
            raise UserError("data.val_fraction=0: this training held nothing out; only its test sets can be used")

    @property
    def validates(self) -> bool:
        """Return whether there is anything to select a model on."""
        return self.settings.selection == "field" or len(self._opened_parts().val) > 0

    @property
    def test_names(self) -> list[str]:
        """Return the names of the test sets, aligned with `test_dataloader()`."""
        return list(self._test_sources())

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of the training part, which begins where a resumed training stopped."""
        settings, train = self.settings, self._opened_parts().train
        # BatchNorm cannot train on a last batch of a single image. A set smaller than one batch must be kept.
        ranks = self.trainer.world_size if self.trainer is not None else 1
        drop_last = len(train) > settings.batch_size * ranks
        ignores = settings.ignore_value is not None
        data = COSDataset(train, settings.augmentation, settings.image_size, ignores, settings.prompts)
        epoch, batch = self._resume_at
        self._resume_at = (0, 0)
        sampler = EpochSampler(
            data, torch.initial_seed(), epoch, settings.train_sizes, settings.batch_size, batch, drop_last
        )
        return DataLoader(
            data, batch_size=settings.batch_size, sampler=sampler, drop_last=drop_last, **self._loader_options()
        )

    def split_record(self) -> dict[str, str]:
        """Return which images train and which are held out, as `split_record.changed_images` compares them."""
        if self._split_record is None:
            parts, sets = self._opened_parts(), self.folders.trained
            self._split_record = {"train": record(parts.train, sets), "val": record(parts.val, sets)}
        return self._split_record

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the training: its epoch, and how many batches of it the network has seen.

        That is not the number of batches that the workers have prefetched. The state includes which images the network
        is trained and selected on.
        """
        if self.trainer is None:
            return {}
        loop: Any = self.trainer.fit_loop
        epoch, batches = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current
        position = {"epoch": epoch.processed, "batch": 0 if epoch.processed == epoch.ready else batches.processed}
        return position | {"split": self.split_record()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume at this epoch and batch. Lightning restores its counters only after the workers have started."""
        self._resume_at = (state_dict["epoch"], state_dict["batch"])

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Return the loader that the model is selected on; an empty list without validation."""
        if not self.validates:
            return []
        selects_on_tests = self.settings.selection == "field"
        return self._eval_loader(
            next(iter(self._test_sources().values())) if selects_on_tests else self._opened_parts().val
        )

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """Return one loader per test set, in the order of `test_names`."""
        return [self._eval_loader(source) for source in self._test_sources().values()]

    def describe(self) -> dict[str, Any]:
        """Return what reports say about the data, in plain values (`description.describe`)."""
        counts = None if self._parts is None else self._parts.counts
        test_counts = {name: len(source) for name, source in self._test_sources().items()}
        return describe(
            self.settings, counts, test_counts, self.selected_on(), self.folders.notes, self.folders.readings
        )

    def sizes(self, train: bool = True) -> str:
        """Return the settings that memory depends on, in words, for messages."""
        settings = self.settings
        batch = (
            f"data.batch_size={settings.batch_size}" if train else f"data.eval_batch_size={settings.eval_batch_size}"
        )
        return f"{batch} and data.image_size={settings.image_size}"

    def check_shared_memory(self, train: bool, processes: int = 1) -> None:
        """Raise a UserError if the batches of the loading processes do not fit into shared memory.

        Args:
            train: whether a training follows; only the test sets are read otherwise.
            processes: processes of the training on this machine.
        """
        parts = self._parts if train else None
        evaluated = [*([] if parts is None else [parts.val]), *self._test_sources().values()]
        problem = shared_memory_problem(self.settings, None if parts is None else parts.train, evaluated, processes)
        if problem is not None:
            raise UserError(problem)

    def selected_on(self) -> str:
        """Return what the best checkpoint is chosen on, in words."""
        return self.settings.selected_on(self.test_names)

    def _opened_parts(self) -> Parts:
        if self._parts is None:
            self.setup("fit")
        assert self._parts is not None
        return self._parts

    def _test_sources(self) -> dict[str, Source]:
        trained_on = self.settings.trained_on
        if self._tests_holdout:
            return {trained_on + HOLDOUT: self._opened_parts().val}
        sources = dict(self._tests or {})
        if self._parts is not None and len(self._parts.test):
            sources[HELD_OUT_TEST if trained_on in sources else trained_on] = self._parts.test
        return sources

    def _eval_loader(self, source: Source) -> DataLoader[Any]:
        data: Dataset[Any] = COSEvalDataset(source, self.settings.image_size)
        sampler = EvalSampler(data)
        if len(data) < sampler.num_replicas:  # type: ignore[arg-type]
            raise UserError(
                f"{len(data)} images to evaluate on for {sampler.num_replicas} processes; use fewer devices"  # type: ignore[arg-type]
            )
        options = self._loader_options(train=False)
        return DataLoader(
            data, batch_size=self.settings.eval_batch_size, sampler=sampler, collate_fn=collate_eval, **options
        )

    def _loader_options(self, train: bool = True) -> dict[str, Any]:
        settings = self.settings
        # Evaluation loaders run rarely: persistent workers would only hold memory between the epochs.
        persistent = train and settings.persistent_workers and settings.num_workers > 0
        # With the global generator, every new start of a loader would shift the network's random numbers.
        own = {"generator": torch.Generator(), "worker_init_fn": shield_worker}
        return own | {
            "num_workers": settings.num_workers,
            "pin_memory": settings.pin_memory,
            "persistent_workers": persistent,
        }
