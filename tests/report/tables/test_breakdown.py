"""Groups of images: COD10K's classes, sizes and numbers of objects."""

from __future__ import annotations

import numpy as np
import pytest

from src.report.tables.breakdown import (
    BY_COUNT,
    BY_SIZE,
    BY_SUB,
    BY_SUPER,
    break_down,
    breakdown_rows,
    breakdown_tables,
    cod10k_class,
)
from src.report.tables.table import markdown
from tests.fixtures.fake_scores import set_scores

NAMES = [
    "COD10K-CAM-1-Aquatic-1-BatFish-2",
    "COD10K-CAM-1-Aquatic-3-Crab-32",
    "COD10K-CAM-3-Flying-53-Bird-3024",
    "COD10K-CAM-1-Aquatic-1-BatFish-9",
]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("COD10K-CAM-1-Aquatic-1-BatFish-2", ("Aquatic", "BatFish")),
        ("COD10K-CAM-2-Terrestrial-24-Cat-1506", ("Terrestrial", "Cat")),
        ("COD10K-NonCAM-5-Background-7-Others-3", ("Background", "Others")),
        ("COD10K-CAM-1-Aquatic-9-Leafy-Sea-Dragon-4", ("Aquatic", "Leafy-Sea-Dragon")),
        ("camourflage_00012", None),
        ("COD10K-CAM-1-Aquatic", None),
    ],
)
def test_classes_from_file_names(image, expected):
    assert cod10k_class(image) == expected


def _groups():
    one = set_scores("COD10K", "net", {"s_alpha": [0.2, 0.4, 0.9, 0.6], "mae": [0.1, 0.2, 0.3, 0.4]}, NAMES)
    for row, share, objects in zip(one.rows, (0.005, 0.01, 0.3, 0.0), (1, 2, 7, 0), strict=True):
        row.update(object_share=share, objects=objects)
    return break_down([one])


def test_every_image_is_in_one_group_of_each_kind_and_means_are_means():
    groups = {(group.by, group.name): group for group in _groups()}
    assert [name for by, name in groups if by == BY_SUPER] == ["Aquatic", "Flying"]
    assert groups[BY_SUPER, "Aquatic"].means["net"]["s_alpha"] == pytest.approx(0.4)
    assert groups[BY_SUB, "Aquatic: BatFish"].images == 2
    assert groups[BY_SUB, "Aquatic: BatFish"].means["net"]["mae"] == pytest.approx(0.25)
    assert [name for by, name in groups if by == BY_SIZE] == ["no object", "under 1 %", "over 20 %"]
    assert groups[BY_SIZE, "under 1 %"].images == 2  # the bound itself included
    assert [name for by, name in groups if by == BY_COUNT] == ["none", "1", "2", "3 or more"]
    for by in (BY_SUPER, BY_SUB, BY_SIZE, BY_COUNT):
        assert sum(group.images for (kind, _), group in groups.items() if kind == by) == 4
    assert "f_max" not in groups[BY_SUPER, "Flying"].means["net"]


def test_tables_of_one_and_of_several_methods():
    (table, *_) = breakdown_tables(_groups(), ["s_alpha", "f_max", "mae"], "raw", 2)
    assert "| object size | images | S_α ↑ | MAE ↓ |" in markdown(table)
    assert "| over 20 % | 1 | 0.90 | 0.30 |" in markdown(table)
    assert "Protocol raw" in markdown(table)
    methods = [
        set_scores("A", name, {"mae": value}) for name, value in (("x", [0.1, 0.2, 0.3]), ("y", [0.4, 0.5, 0.6]))
    ]
    table = breakdown_tables(break_down(methods), ["mae"], "raw", 2)[0]
    assert "A by object size, MAE" in markdown(table)
    assert "| 5 to 20 % | 2 | 0.15 | 0.45 |" in markdown(table)


def test_csv_rows_hold_every_method():
    rows = breakdown_rows(break_down([set_scores("A", name, {"mae": np.array([0.1, 0.2, 0.3])}) for name in "xy"]))
    assert {(row["method"], row["by"]) for row in rows} == {(m, by) for m in "xy" for by in (BY_SIZE, BY_COUNT)}


def test_a_kind_with_one_group_is_left_out():
    one = set_scores("A", "x", {"mae": [0.1, 0.2]})
    for row in one.rows:
        row.update(object_share=0.1, objects=1)
    assert break_down([one]) == []
