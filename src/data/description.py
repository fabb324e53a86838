"""What a data module says of itself, for every report: plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from src.data.datamodule import COSDataModule

FAST_DECODE_NOTE = "data.fast_decode: large JPEGs were decoded at a part of their size"
FIELD_NOTE = "data.selection=field: the model is chosen on a test set, whose figures are then better than on unseen images"


def describe(data: COSDataModule) -> dict[str, Any]:
    """What was trained, selected and tested on. Counts are present for the parts that are set up."""
    train, val, _ = data.part_counts() or (None, None, None)
    notes = [(FAST_DECODE_NOTE, data.fast_decode), (FIELD_NOTE, data.selection == "field")]
    return {
        "root": str(data.root),
        "image_size": data.image_size,
        "selection": data.selection,
        "selected_on": data.selected_on(),
        "val_fraction": data.val_fraction,
        "test_fraction": data.test_fraction,
        "folds": data.folds,
        "fold": data.fold if data.folds is not None else None,
        "fast_decode": data.fast_decode,
        "train_sets": list(data.train_sets),
        "train_images": train,
        "val_images": val,
        "test_images": data.test_counts(),
        "notes": [*data.notes, *(note for note, holds in notes if holds)],
    }
