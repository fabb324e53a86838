"""Scores collected in a pool: equal to `COSMetrics`, whatever the number of workers."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from src.metrics import CURVES, COSMetrics
from src.scoring.pool import WorkerPool
from src.scoring.scorer import MapScorer, count_objects, score_maps
from src.scoring.scores import SetScores
from src.utils.errors import UserError

SIZES = [(20, 30), (33, 17), (24, 24), (50, 40), (16, 48)]


def _maps(seed: int = 0):
    rng = np.random.default_rng(seed)
    return [
        (torch.from_numpy(rng.random(size, dtype=np.float32)), torch.from_numpy(rng.random(size) > 0.7))
        for size in SIZES
    ]


def _scored(workers: int, maps_dir=None, protocol: str = "field", valid: bool = False) -> SetScores:
    with WorkerPool(workers) as pool:
        scorer = MapScorer(protocol, ["auc"], pool, maps_dir)
        for i, (pred, target) in enumerate(_maps()):
            region = torch.arange(target.shape[1]).expand(target.shape) > 5 if valid else None
            scorer.add("A", f"i{i}", partial(dict, M_0=1 - pred, M_1=pred), target, region)
        results = scorer.results()
    assert list(results["A"]) == ["M_0", "M_1"]
    return results["A"]["M_1"]


@pytest.mark.parametrize("protocol", ["field", "raw", "released"])
def test_sets_score_as_the_metric_does(protocol):
    metric = COSMetrics(protocol, ["auc"])
    for pred, target in _maps():
        metric.update([pred], [target])
    expected, found = metric.compute(), _scored(0, protocol=protocol)
    assert {*found.scalars, *found.curves} == expected.keys()
    for name, value in found.scalars.items():
        assert value == pytest.approx(expected[name].item(), abs=1e-14), name
    for name in CURVES:
        np.testing.assert_allclose(found.curves[name], expected[name].numpy(), atol=1e-14)


def test_workers_change_nothing():
    alone, together = _scored(0), _scored(2)
    assert alone.rows == together.rows
    assert alone.scalars == together.scalars
    assert [row["image"] for row in together.rows] == [f"i{i}" for i in range(len(SIZES))]


def test_only_the_valid_pixels_count():
    assert _scored(0, valid=True).scalars["mae"] != _scored(0).scalars["mae"]
    pred, target = _maps()[0]
    row = _scored(0, valid=True, protocol="raw").rows[0]
    assert row["mae"] == pytest.approx((pred[:, 6:].double() - target[:, 6:].double()).abs().mean().item())


def test_objects_are_counted_where_the_truth_is_known():
    target = torch.zeros(20, 20, dtype=torch.bool)
    target[2:6, 2:6], target[12:16, 12:16] = True, True
    valid = torch.ones_like(target)
    valid[10:] = False
    found = [
        score_maps("i", {"M": np.full((20, 20), 0.5)}, target.numpy(), region, "raw", ())
        for region in (None, valid.numpy())
    ]
    assert [scores["M"].objects for scores in found] == [2, 1]


def test_released_maps_are_written_stretched_and_score_in_the_files_as_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    target = rng.random((40, 50)) > 0.6
    pred = (0.2 + 0.5 * rng.random((40, 50))).astype(np.float32)
    found = score_maps("i", {"M": pred}, target, None, "released", ["auc"], tmp_path / "i.png")["M"].scores.scalars
    stored = np.asarray(Image.open(tmp_path / "i.png"))
    expected = np.rint(np.float32(255) * ((pred - pred.min()) / (pred.max() - pred.min() + np.float32(1e-8))))
    np.testing.assert_array_equal(stored, expected)
    assert (stored.min(), stored.max()) == (0, 255)
    for protocol in ("field", "released"):
        from_file = score_maps("i", {"M": stored / 255}, target, None, protocol, ["auc"])["M"].scores.scalars
        assert from_file == pytest.approx(found, abs=1e-12)
    assert found["mae"] != score_maps("i", {"M": pred}, target, None, "raw", ["auc"])["M"].scores.scalars["mae"]


def test_a_constant_map_is_empty_when_it_is_stretched(tmp_path):
    score_maps("i", {"M": np.full((4, 4), 0.7, np.float32)}, np.eye(4) > 0, None, "released", (), tmp_path / "i.png")
    assert not np.asarray(Image.open(tmp_path / "i.png")).any()


def test_the_last_map_is_written_in_8_bits(tmp_path):
    _scored(0, tmp_path)
    for i, (pred, _) in enumerate(_maps()):
        with Image.open(tmp_path / "A" / f"i{i}.png") as file:
            np.testing.assert_array_equal(np.asarray(file), np.rint(pred.double().numpy() * 255))


def test_a_bad_map_is_named():
    pred, target = _maps()[0]
    pred[3, 3] = float("nan")
    with WorkerPool(0) as pool, pytest.raises(UserError, match=r"worm: (.|\n)*1 NaN"):
        MapScorer("field", [], pool).add("A", "worm", lambda: {"M": pred}, target)


def test_maps_are_made_where_they_are_scored():
    pred, target = _maps()[0]
    made_in = []

    def maps():
        made_in.append(threading.get_ident())
        return {"M": pred}

    for workers in (0, 1):
        with WorkerPool(workers) as pool:
            scorer = MapScorer("field", [], pool)
            scorer.add("A", "i", maps, target)
            assert list(scorer.results()["A"]) == ["M"]
    assert [thread == threading.get_ident() for thread in made_in] == [True, False]


def test_pools_keep_the_order_and_use_other_threads():
    with WorkerPool(2) as pool:
        assert list(pool.map(divmod, ((i, 7) for i in range(40)))) == [divmod(i, 7) for i in range(40)]
        assert pool.submit(threading.get_ident).result() != threading.get_ident()
    with WorkerPool(0) as pool:
        assert pool.submit(threading.get_ident).result() == threading.get_ident()
    with pytest.raises(UserError, match="workers=-1"):
        WorkerPool(-1)


def test_objects_are_counted_without_specks():
    mask = np.zeros((100, 100), bool)
    assert count_objects(mask) == 0
    mask[10:40, 10:40] = True
    mask[40, 40] = True  # touches by a corner
    mask[60:80, 60:80] = True
    mask[95, 95] = True  # a speck
    assert count_objects(mask) == 2
