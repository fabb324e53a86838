"""Bootstrap, Wilcoxon and Holm on data whose answer is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from src.report.statistics import compare_methods, holm, statistics_table
from src.report.tables.table import markdown
from src.utils.errors import UserError
from tests.fixtures.fake_scores import set_scores


def _methods(shift: float, count: int = 60, noise: float = 0.01) -> list:
    rng = np.random.default_rng(3)
    base = rng.uniform(0.3, 0.7, count)
    other = base + shift + noise * rng.normal(size=count)
    return [
        set_scores("CAMO", "new", {"s_alpha": other, "mae": other}),
        set_scores("CAMO", "old", {"s_alpha": base, "mae": base}),
    ]


def test_a_method_against_itself_differs_by_nothing():
    same = _methods(0.0, noise=0.0)
    for one in compare_methods(same, ["s_alpha", "mae"]):
        assert (one.difference, one.low, one.high, one.p, one.p_holm, one.better) == (0, 0, 0, 1, 1, None)


def test_a_shift_is_found_and_its_interval_is_that_of_the_t_test():
    one, mae = compare_methods(_methods(0.02), ["s_alpha", "mae"])
    assert one.low < 0.02 < one.high
    assert one.low > 0
    assert one.better == "new"
    assert mae.better == "old"  # lower is better
    ours, theirs = _methods(0.02)
    differences = ours.values("s_alpha") - theirs.values("s_alpha")
    half = 1.96 * differences.std() / np.sqrt(len(differences))
    assert one.difference == pytest.approx(differences.mean())
    assert one.low == pytest.approx(differences.mean() - half, abs=0.15 * half)
    assert one.high == pytest.approx(differences.mean() + half, abs=0.15 * half)


def test_noise_alone_is_not_called_a_difference():
    (one,) = compare_methods(_methods(0.0), ["s_alpha"])
    assert one.low < 0 < one.high
    assert one.p > 0.05
    assert one.better is None


def test_better_is_said_only_where_test_and_interval_agree():
    gains = np.array([0.01] * 40 + [-0.2] * 4)  # many small gains and a few large losses: ranks and means disagree
    base = np.full(44, 0.5)
    (one,) = compare_methods(
        [set_scores("A", "x", {"iou": base + gains}), set_scores("A", "y", {"iou": base})], ["iou"]
    )
    assert one.p_holm < 0.001
    assert one.low < 0 < one.high
    assert one.better is None


def test_wilcoxon_of_a_small_sample_by_enumeration():
    first, second = [0.9, 0.7, 0.65, 0.8, 0.5], [0.8, 0.4, 0.7, 0.6, 0.5]
    (one,) = compare_methods([set_scores("A", "x", {"mae": first}), set_scores("A", "y", {"mae": second})], ["mae"])
    ranks = {0.1: 2, 0.3: 4, -0.05: 1, 0.2: 3}  # of |difference|, without the zero
    observed = sum(rank for value, rank in ranks.items() if value > 0)
    sums = [
        sum(rank for rank, up in zip((1, 2, 3, 4), signs, strict=True) if up) for signs in product((0, 1), repeat=4)
    ]
    tail = np.mean([total >= observed for total in sums])
    assert one.p == pytest.approx(min(1, 2 * tail), abs=0.02)


def test_pairs_are_made_by_image_not_by_order():
    names = [f"i{k}" for k in range(8)]
    values = np.linspace(0.2, 0.9, 8)
    forward = set_scores("A", "x", {"mae": values}, names)
    backward = set_scores("A", "y", {"mae": values[::-1]}, names[::-1])
    (one,) = compare_methods([forward, backward], ["mae"])
    assert (one.images, one.difference, one.p) == (8, 0, 1)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_holm_runs_over_the_whole_table_and_a_reference_narrows_it():
    methods = [*_methods(0.001), set_scores("CAMO", "third", {"s_alpha": np.full(60, 0.5)})]
    everything = compare_methods(methods, ["s_alpha", "mae", "f_max"])
    assert len(everything) == 3 * 2  # f_max is not a mean over images
    assert [one.p_holm for one in everything] == holm([one.p for one in everything])
    against = compare_methods(methods, ["s_alpha"], reference="old")
    assert [(one.first, one.second) for one in against] == [("old", "new"), ("old", "third")]
    with pytest.raises(UserError, match=r"reference=none.*new, old, third"):
        compare_methods(methods, ["s_alpha"], reference="none")


def test_the_same_seed_gives_the_same_interval_and_the_table_says_how():
    assert compare_methods(_methods(0.01), ["s_alpha"]) == compare_methods(_methods(0.01), ["s_alpha"])
    text = markdown(statistics_table(compare_methods(_methods(0.02), ["mae"]), "field"))
    assert "10000 resamples, seed 0" in text
    assert "CAMO: differences" in text
    assert "Protocol field" in text
    assert "Holm's correction over the 1 comparisons" in text
    assert "| new − old | MAE | 60 | +0.0" in text
    assert "| < 0.0001 | < 0.0001 | old |" in text
