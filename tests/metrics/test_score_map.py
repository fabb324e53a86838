"""The registry describes exactly what is computed, its arrows are right, and every public function shows an example."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import src.metrics
from src.metrics import EXTRAS, MEASURES, STANDARD, COSMetrics, score
from src.metrics import functional as fn
from tests.fixtures.maps import smooth_pair


def test_one_entry_a_key_in_the_order_of_compute():
    metric = COSMetrics(extra=EXTRAS)
    pred, target = smooth_pair(30, 40, seed=0)
    metric.update([pred], [target], images=[np.zeros((30, 40, 3), dtype=np.uint8)])
    scalars = [name for name, value in metric.compute().items() if value.ndim == 0]
    assert scalars == list(MEASURES) == [*STANDARD, *EXTRAS]
    assert list(metric.last_scores[0]) == scalars
    assert all(
        name == measure.name and measure.meaning and measure.latex.startswith("$") for name, measure in MEASURES.items()
    )
    assert len({measure.label for measure in MEASURES.values()}) == len(MEASURES)


@pytest.mark.parametrize("name", MEASURES)
def test_arrow(name):
    """A map that is wrong in places is worse than the mask itself, in the direction that the registry states."""
    _, target = smooth_pair(60, 80, seed=1)
    faulty = np.where(np.arange(80) < 30, 1.0 - target, target)
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    good, bad = (score(m.astype(float), target, extra=EXTRAS, image=image).scalars[name] for m in (target, faulty))
    assert (good > bad) if MEASURES[name].higher_is_better else (good < bad)


def test_every_public_function_has_an_example():
    public = {name: getattr(module, name) for module in (fn, src.metrics) for name in module.__all__}
    lacking = [
        name for name, value in public.items() if inspect.isfunction(value) and ">>>" not in (value.__doc__ or "")
    ]
    assert lacking == []
