"""What reports say about the data: plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from src.data.layouts import display_name
from src.data.settings import DataSettings

FAST_DECODE_NOTE = "data.fast_decode: large JPEGs were decoded at a part of their size"
EXIF_NOTE = "data.exif=false: test images as they are stored, not turned by their EXIF orientation"
FIELD_NOTE = (
    "data.selection=field: the model is chosen on a test set, whose figures are then better than on unseen images"
)


def describe(
    settings: DataSettings,
    part_counts: tuple[int, int, int] | None,
    test_counts: Mapping[str, int],
    selected_on: str,
    notes: Sequence[str],
    readings: Mapping[str, str],
) -> dict[str, Any]:
    """Return what was trained, selected and tested on.

    Args:
        settings: of the data module.
        part_counts: images to train on, held out to validate and held out to test; None before they are set up.
        test_counts: images of each test set that is set up.
        selected_on: what the best checkpoint is chosen on, in words.
        notes: what was noticed when the sets were opened.
        readings: how the masks of each set are read, in words.
    """
    train, val, _ = part_counts or (None, None, None)
    own_notes = [
        (FAST_DECODE_NOTE, settings.fast_decode),
        (EXIF_NOTE, not settings.exif),
        (FIELD_NOTE, settings.selection == "field"),
    ]
    return {
        "root": str(settings.root),
        "image_size": settings.image_size,
        "selection": settings.selection,
        "selected_on": selected_on,
        "val_fraction": settings.val_fraction,
        "test_fraction": settings.test_fraction,
        "folds": settings.folds,
        "fold": settings.fold if settings.folds is not None else None,
        "fast_decode": settings.fast_decode,
        "train_sets": [display_name(settings.root, name) for name in settings.train_sets],
        "train_images": train,
        "val_images": val,
        "test_images": dict(test_counts),
        "masks": dict(readings),
        "notes": [*notes, *(note for note, holds in own_notes if holds)],
    }
