"""The stateful metric: averaging, order, batches, precision, distributed sums."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from src.metrics import COSMetrics, score
from src.utils.errors import UserError
from tests.fixtures.maps import smooth_pair

SIZES = [(40, 52), (33, 33), (61, 27), (20, 80), (48, 48)]
PAIRS = [smooth_pair(*size, seed) for seed, size in enumerate(SIZES)]
PREDS = [torch.from_numpy(pred) for pred, _ in PAIRS]
VALID = [None, *(torch.arange(width).expand(height, width) > 4 for height, width in SIZES[1:])]
TARGETS = [torch.from_numpy(target) for _, target in PAIRS]
CURVES = ("precision_curve", "recall_curve", "f_curve", "e_curve", "iou_curve", "dice_curve")


def computed(preds, targets, **options):
    metric = COSMetrics(**options)
    metric.update(preds, targets)
    return metric.compute()


def assert_same(ours, theirs, tolerance=1e-14):
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=0, atol=tolerance, msg=key)


def test_keys_shapes_and_type():
    result = computed(PREDS, TARGETS)
    scalars = [
        *(
            "mae",
            "s_alpha",
            "s_object",
            "s_region",
            "e_mean",
            "e_max",
            "e_adp",
            "f_mean",
            "f_max",
            "f_adp",
            "f_weighted",
        ),
        *(
            "iou",
            "iou_mean",
            "iou_max",
            "dice",
            "dice_mean",
            "dice_max",
            "sensitivity",
            "specificity",
            "accuracy",
            "ber",
        ),
    ]
    assert list(result) == [*scalars, *CURVES]
    assert {key: tuple(value.shape) for key, value in result.items()} == {
        **dict.fromkeys(scalars, ()),
        **dict.fromkeys(CURVES, (256,)),
    }
    assert {value.dtype for value in result.values()} == {torch.float64}


def test_images_are_averaged_first():
    result = computed(PREDS, TARGETS)
    singles = [score(pred, target) for pred, target in PAIRS]
    for name in singles[0].scalars.keys() - {"e_max", "f_max", "iou_max", "dice_max"}:
        assert result[name].item() == pytest.approx(np.mean([single.scalars[name] for single in singles]), abs=1e-14), (
            name
        )
    for name in CURVES:
        np.testing.assert_allclose(
            result[name], np.mean([single.curves[name] for single in singles], axis=0), rtol=0, atol=1e-14
        )
    mean_of_maxima = np.mean([single.scalars["f_max"] for single in singles])
    assert result["f_max"] == result["f_curve"].max()
    assert result["f_max"] < mean_of_maxima - 1e-4


def test_order_and_splitting_do_not_matter():
    backwards = COSMetrics()
    for pred, target in zip(PREDS[::-1], TARGETS[::-1], strict=True):
        backwards.update([pred], [target])
    assert_same(backwards.compute(), computed(PREDS, TARGETS))


def test_last_scores_are_of_the_last_update_in_order():
    metric = COSMetrics()
    metric.update(PREDS[:3], TARGETS[:3])
    metric.update(PREDS[3:], TARGETS[3:])
    assert metric.last_scores == [score(*pair).scalars for pair in PAIRS[3:]]
    metric.reset()
    assert metric.last_scores == []


@pytest.mark.parametrize("shape", [(4, 30, 41), (4, 1, 30, 41)])
@pytest.mark.parametrize("convert", [torch.from_numpy, np.asarray])
def test_batches(shape, convert):
    pairs = [smooth_pair(30, 41, seed) for seed in range(4)]
    expected = computed([pred for pred, _ in pairs], [target for _, target in pairs])
    preds, targets = (np.stack(maps).reshape(shape) for maps in zip(*pairs, strict=True))
    assert_same(computed(convert(preds), convert(targets)), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_predictions_count_as_their_exact_values(dtype):
    low = [pred.to(dtype).requires_grad_() for pred in PREDS]
    assert_same(
        computed(low, TARGETS, protocol="raw"),
        computed([pred.detach().double() for pred in low], TARGETS, protocol="raw"),
    )


def test_sums_stay_float64_when_the_module_is_cast():
    module = torch.nn.Module()
    module.metric = COSMetrics()
    module.metric.update(PREDS[:2], TARGETS[:2])
    module.half().to(torch.bfloat16).float().to("cpu", torch.float16)
    module.metric.update(PREDS[2:], TARGETS[2:])
    assert_same(module.metric.compute(), computed(PREDS, TARGETS))
    module.metric.reset()
    assert (module.metric.scalar_sum.dtype, module.metric.curve_sum.dtype, module.metric.count.dtype) == (
        torch.float64,
        torch.float64,
        torch.int64,
    )


def test_reset_under_inference_mode():
    metric = COSMetrics()
    with torch.inference_mode():
        metric.update(PREDS[:1], TARGETS[:1])
        metric.reset()
    metric.update(PREDS, TARGETS)
    assert_same(metric.compute(), computed(PREDS, TARGETS))


def test_forward_returns_the_batch_and_keeps_the_sum():
    metric = COSMetrics()
    metric.update(PREDS[:3], TARGETS[:3])
    assert_same(metric(PREDS[3:], TARGETS[3:]), computed(PREDS[3:], TARGETS[3:]))
    assert_same(metric.compute(), computed(PREDS, TARGETS))


def test_one_metric_a_stage():
    """`COSModule` copies an empty metric; the copies must then count separately."""
    first = COSMetrics(extra=["auc"], protocol="raw", workers=2)
    stages = [copy.deepcopy(first) for _ in range(3)]
    for k, metric in enumerate(stages):
        metric.update([pred ** (k + 1) for pred in PREDS], TARGETS)
    assert first.count == 0
    for k, metric in enumerate(stages):
        assert_same(
            metric.compute(), computed([pred ** (k + 1) for pred in PREDS], TARGETS, protocol="raw", extra=["auc"])
        )
    assert stages[0].compute()["mae"] != stages[1].compute()["mae"]
    assert stages[0].compute()["auc"] == stages[1].compute()["auc"]  # p and p² give the same ranking


def test_merged_parts_equal_the_whole():
    left, right = COSMetrics(), COSMetrics()
    left.update(PREDS[:1], TARGETS[:1])
    right.update(PREDS[1:], TARGETS[1:])
    whole = copy.deepcopy(left)
    whole.merge_state(right)
    assert_same(whole.compute(), computed(PREDS, TARGETS))


def test_no_image():
    metric = COSMetrics()
    metric.update([], [])
    with pytest.raises(UserError, match="No image was scored"):
        metric.compute()
    metric.update(PREDS, TARGETS)
    assert_same(metric.compute(), computed(PREDS, TARGETS))


def _score_share(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    metric = COSMetrics(extra=["auc"])
    empty = False
    try:
        metric.compute()
    except UserError:
        empty = not metric._is_synced
    metric.reset()
    share = slice(0, 3) if rank == 0 else slice(3, 5)
    metric.update(PREDS[share], TARGETS[share], VALID[share])
    with metric.sync_context():
        count = metric.count
    uneven = metric.compute()
    metric.reset()
    if rank == 0:
        metric.update(PREDS, TARGETS, VALID)
    torch.save({"empty": empty, "count": count, "uneven": uneven, "one_sided": metric.compute()}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path):
    """3 + 2 images, then 5 + 0: the counts are summed, no image is padded in or repeated."""
    torch.multiprocessing.start_processes(_score_share, args=(str(tmp_path),), nprocs=2, start_method="fork")
    whole = COSMetrics(extra=["auc"])
    whole.update(PREDS, TARGETS, VALID)
    expected = whole.compute()
    for rank in range(2):
        result = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert result["empty"]
        assert result["count"] == len(SIZES)
        assert_same(result["uneven"], expected, tolerance=1e-14)
        assert_same(result["one_sided"], expected, tolerance=1e-14)
