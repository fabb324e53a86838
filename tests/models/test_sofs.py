"""The closed-form steps against a numerical minimiser, the filter against its definition (method.md 2, 3.1, 3.3)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from src.models.prompts import prompted
from src.models.robe import BackgroundNetwork, background_step
from src.models.sofs import ResidualGradient, filtered_residual, mask_step, residual_filter, reversed_mask

SIZE = (1, 1, 5, 8)


def _case(seed: int, black: bool = True) -> dict[str, torch.Tensor]:
    """A float64 case that holds black pixels (C = 0), undecided pixels (w = 0) and half-decided ones."""
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.random((1, 3, 5, 8)))
    if black:
        image[..., :2] = 0
    mask, mask_prev = (torch.from_numpy(rng.random(SIZE)) for _ in range(2))
    mask[..., 3] = 0.5
    return {
        "image": image,
        "background": torch.from_numpy(rng.random((1, 3, 5, 8))),
        "mask": mask,
        "mask_prev": mask_prev,
    }


def _prompt(seed: int, nu: float) -> dict[str, torch.Tensor]:
    """P and ν·p of a case; the prompt says nothing about the first rows (p = 0)."""
    rng = np.random.default_rng(seed + 17)
    target, certainty = (torch.from_numpy(rng.random(SIZE)) for _ in range(2))
    certainty[..., :2, :] = 0
    return {"prompt": target, "trust": nu * certainty}


@pytest.mark.parametrize("nu", [None, 0.5, 30.0])
@pytest.mark.parametrize("band", ["zero", "one"])
@pytest.mark.parametrize(("mu", "alpha", "lipschitz"), [(0.01, 0.01, 1.0), (0.3, 0.5, 2.0), (0.01, 0.0, 1.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_mask_step_minimises_the_objective(seed, mu, alpha, lipschitz, band, nu):
    case, said = _case(seed), {} if nu is None else _prompt(seed, nu)
    grad = (
        torch.from_numpy(np.random.default_rng(seed + 9).normal(0, 0.05, SIZE))
        if alpha
        else torch.zeros(SIZE, dtype=torch.float64)
    )
    found = mask_step(**case, grad_s=grad, mu=mu, alpha=alpha, lipschitz=lipschitz, uncertain_band=band, **said)
    weight, tilde = residual_filter(case["mask"], band)
    residual = filtered_residual(case["mask"], case["mask_prev"], band)
    image, background = (case[k][0].flatten(1).numpy() for k in ("image", "background"))
    target, trust = (said.get(name, torch.zeros(SIZE)) for name in ("prompt", "trust"))
    flat = [x.flatten().numpy() for x in (case["mask"], weight, tilde, residual, grad, target, trust, found)]
    worst = 0.0
    for i, (m, w, m_tilde, r, g, p, nu_p, answer) in enumerate(zip(*flat, strict=True)):

        def objective(x, i=i, m=m, w=w, m_tilde=m_tilde, r=r, g=g, p=p, nu_p=nu_p):
            change = w * (x - m_tilde) - r
            data = 0.5 * np.sum((image[:, i] * (1 - x) - background[:, i]) ** 2) + 0.5 * nu_p * (x - p) ** 2
            return data + 0.5 * mu * (x - m) ** 2 + g * change + 0.5 * alpha * lipschitz * change**2

        best = minimize_scalar(objective, bounds=(0, 1), method="bounded", options={"xatol": 1e-10})
        assert objective(answer) <= best.fun + 1e-12
        worst = max(worst, abs(answer - best.x))
    assert worst < 1e-5


def test_mask_step_with_a_prompt_of_no_certainty_and_of_any():
    case, settings = _case(2), {"grad_s": 0.05, "mu": 0.01, "alpha": 0.01}
    said = _prompt(2, 1.0)
    unsaid = mask_step(**case, **settings, prompt=said["prompt"], trust=torch.zeros(SIZE))
    assert torch.equal(unsaid, mask_step(**case, **settings))
    sure = mask_step(**case, **settings, prompt=said["prompt"], trust=1e9 * said["trust"])
    spoken = said["trust"] > 0
    torch.testing.assert_close(sure[spoken], said["prompt"][spoken], atol=1e-6, rtol=0)
    assert torch.equal(sure[~spoken], unsaid[~spoken])


def test_prompted_mask_minimises_its_objective():
    said, mask = _prompt(0, 3.0), _case(0)["mask"]
    found = prompted(mask, said["prompt"], said["trust"]).requires_grad_()
    (0.5 * (found - mask).square() + 0.5 * said["trust"] * (found - said["prompt"]).square()).sum().backward()
    assert found.grad.abs().max() < 1e-12


def test_mask_step_covers_the_special_pixels():
    case = _case(0)
    weight, _ = residual_filter(case["mask"])
    assert (weight == 0).any()
    assert (case["image"].sum(1) == 0).any()


def test_residual_off_equals_zero_weight():
    case = _case(3)
    off = mask_step(**case, grad_s=0.0, mu=0.02, alpha=0.0)
    energy = case["image"].square().sum(1, keepdim=True)
    least_squares = (0.02 * case["mask"] + energy - (case["image"] * case["background"]).sum(1, keepdim=True)) / (
        energy + 0.02
    )
    torch.testing.assert_close(off, least_squares.clamp(0, 1))


def test_mask_step_keeps_a_consistent_state():
    """With B = (1 − M)·C, M = M_prev and no residual term the data term is at its minimum already: M̂ = M."""
    case = _case(4, black=False)
    case["background"] = (1 - case["mask"]) * case["image"]
    torch.testing.assert_close(
        mask_step(**case | {"mask_prev": case["mask"]}, grad_s=0.0, mu=0.01, alpha=0.01), case["mask"]
    )


@pytest.mark.parametrize("lam", [0.01, 0.3])
def test_background_step_minimises_the_objective(lam):
    case = _case(5)
    found = background_step(case["image"], case["mask"], case["background"], lam)
    target = case["image"] * (1 - case["mask"])
    variable = torch.rand_like(found).requires_grad_()
    optimizer = torch.optim.LBFGS([variable], max_iter=100, tolerance_grad=1e-14, tolerance_change=1e-16)

    def closure():
        optimizer.zero_grad()
        value = 0.5 * (target - variable).square().sum() + 0.5 * lam * (variable - case["background"]).square().sum()
        value.backward()
        return value

    optimizer.step(closure)
    torch.testing.assert_close(found, variable.detach(), atol=1e-9, rtol=0)


def test_residual_filter_by_definition():
    mask = torch.tensor([0.0, 0.05, 0.1, 0.2, 0.39, 0.41, 0.5, 0.59, 0.61, 0.8, 0.9, 0.95, 1.0])
    weight, tilde = residual_filter(mask)
    torch.testing.assert_close(weight, torch.tensor([1.0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1]))
    torch.testing.assert_close(
        tilde, torch.tensor([0.0, 0.05, 0.1, 0.1, 0.1, 0.41, 0.5, 0.59, 0.9, 0.9, 0.9, 0.95, 1.0])
    )
    decided = (mask <= 0.1) | (mask >= 0.9) | ((mask > 0.4) & (mask < 0.6))
    assert ((weight * (mask - tilde) != 0) == ~decided).all()
    assert (residual_filter(mask, "one")[0] == 1).all()


@pytest.mark.parametrize("band", ["zero", "one"])
def test_soft_thresholds_are_the_hard_ones_away_from_them_and_pass_gradients(band):
    mask = torch.tensor([0.0, 0.05, 0.25, 0.35, 0.5, 0.65, 0.75, 0.95, 1.0], dtype=torch.float64)
    for soft, hard in zip(residual_filter(mask, band, 0.001), residual_filter(mask, band), strict=True):
        torch.testing.assert_close(soft, hard, rtol=0, atol=1e-9)
    mask = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64, requires_grad=True)
    weight, _ = residual_filter(mask, "zero", 0.03)
    weight.sum().backward()
    assert (mask.grad[1:3].abs() > 5).all()
    assert torch.autograd.gradcheck(lambda x: residual_filter(x, band, 0.03), mask)


def test_reversed_mask_is_exact_on_consistent_backgrounds():
    case = _case(6)
    reverse = reversed_mask(case["image"], (1 - case["mask"]) * case["image"], case["mask"])
    torch.testing.assert_close(reverse, 1 - case["mask"])
    free = reversed_mask(case["image"], case["background"], case["mask"])
    assert free.min() >= 0
    assert free.max() <= 1


@pytest.mark.parametrize("size", [(208, 208), (205, 210)])
def test_tokens_draw_no_pattern_into_flat_maps(size):
    """Whatever the weights: what is the same everywhere stays so, away from the borders."""
    torch.manual_seed(0)
    gradient, network = ResidualGradient(3, 8, "space_to_depth"), BackgroundNetwork((4, 6, 8)).eval()
    for head in (gradient[-1], network.head):
        torch.nn.init.normal_(head.weight)
    flat = torch.full((1, 1, *size), 0.3)
    colours = flat.expand(1, 3, *size)
    for found in (gradient(flat), network(flat, colours, colours)):
        assert found.shape[-2:] == size
        middle = found.detach()[..., 88:-88, 88:-88]
        assert middle.abs().min() > 1e-3
        assert middle.amax((2, 3)) - middle.amin((2, 3)) == pytest.approx(0, abs=1e-5)


def test_an_untrained_network_of_tokens_hardly_changes_anything_and_trains():
    torch.manual_seed(0)
    gradient, network = ResidualGradient(3, 8, "space_to_depth"), BackgroundNetwork((4, 6, 8))
    mask, image = torch.rand(2, 1, 45, 50), torch.rand(2, 3, 45, 50)
    repair, slope = network(mask, image * (1 - mask), image), gradient(mask)
    assert 0 < repair.abs().max() < 0.05
    assert 0 < slope.abs().max() < 0.05
    (repair.square().sum() + slope.square().sum()).backward()
    parameters = [*network.parameters(), *gradient.parameters()]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in parameters)
