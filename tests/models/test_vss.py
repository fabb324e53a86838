"""The state-space block: four directions by explicit token lists, initial values, identity paths."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.vss import SS2D, ChannelAttention, LayerNorm2d, VSSBlock, channel_attention_block
from src.ops import selective_scan

Token = tuple[int, int]


def _orders(height: int, width: int) -> list[list[Token]]:
    """The tokens of a map in the order in which each of the four directions reads them."""
    rows = [(i, j) for i in range(height) for j in range(width)]
    columns = [(i, j) for j in range(width) for i in range(height)]
    return [rows, columns, rows[::-1], columns[::-1]]


def _reference(space: SS2D, x: Tensor) -> Tensor:
    """SS2D once more, direction by direction and token by token."""
    x, gate = space.in_proj(x).chunk(2, 1)
    x = F.silu(space.conv(x))
    inner, height, width = x.shape[1:]
    total = torch.zeros_like(x)
    for k, order in enumerate(_orders(height, width)):
        own = slice(k * inner, (k + 1) * inner)
        tokens = torch.stack([x[:, :, i, j] for i, j in order], -1)
        projected = torch.einsum("oc,ncl->nol", space.x_proj[k], tokens)
        step, B, C = (
            projected[:, : space.rank],
            projected[:, space.rank : -space.d_state],
            projected[:, -space.d_state :],
        )
        delta = F.softplus(torch.einsum("cr,nrl->ncl", space.dt_proj[k], step) + space.dt_bias[own, None])
        y = selective_scan(
            tokens, delta, -torch.exp(space.A_log[own]), B[:, None], C[:, None], space.D[own], backend="loop"
        )
        for index, (i, j) in enumerate(order):
            total[:, :, i, j] += y[..., index]
    normed = F.layer_norm(total.movedim(1, -1), [inner], space.norm.weight, space.norm.bias).movedim(-1, 1)
    return space.out_proj(normed * F.silu(gate))


def _shaken(space: SS2D) -> SS2D:
    """No two directions or channels with the same A and D, as after training."""
    with torch.no_grad():
        for parameter in (space.A_log, space.D, space.norm.weight, space.norm.bias):
            parameter.add_(0.3 * torch.randn_like(parameter))
    return space


@pytest.mark.parametrize("size", [(3, 5), (6, 2), (1, 7), (4, 1)])
def test_ss2d_equals_four_scans_over_explicit_token_lists(size):
    space = _shaken(SS2D(20, d_state=5))
    assert space.rank == 2
    x = torch.randn(2, 20, *size)
    with torch.no_grad():
        fast, exact = space(x), _reference(space.double(), x.double())
        torch.testing.assert_close(space(x.double()), exact)
    torch.testing.assert_close(fast.double(), exact, atol=1e-5, rtol=1e-4)


def _reached(space: SS2D, size: tuple[int, int], centre: Token) -> set[Token]:
    """Where the output changes when the token in the centre does. The local convolution is made pointwise."""
    with torch.no_grad():
        keep = torch.zeros_like(space.conv.weight)
        keep[:, :, 1, 1] = 1
        space.conv.weight.copy_(keep)
        x = torch.randn(1, space.in_proj.in_channels, *size, dtype=torch.float64)
        changed = x.clone()
        changed[..., centre[0], centre[1]] += 1
        difference = (space(changed) - space(x)).abs().amax((0, 1))
    return {(i, j) for i in range(size[0]) for j in range(size[1]) if difference[i, j] > 0}


def _silence(space: SS2D, directions: set[int]) -> None:
    """Silence these directions: set C and D to zero."""
    with torch.no_grad():
        for k in directions:
            space.x_proj[k, -space.d_state :] = 0
            space.D.view(4, -1)[k] = 0


@pytest.mark.parametrize("direction", range(4))
def test_each_direction_reaches_what_comes_after_in_its_order(direction):
    space = SS2D(8).double()
    _silence(space, {0, 1, 2, 3} - {direction})
    order = _orders(5, 7)[direction]
    assert _reached(space, (5, 7), (2, 3)) == set(order[order.index((2, 3)) :])


def test_four_directions_reach_the_whole_map_and_none_reaches_nothing():
    assert _reached(SS2D(8).double(), (5, 7), (2, 3)) == set(_orders(5, 7)[0])
    silent = SS2D(8).double()
    _silence(silent, {0, 1, 2, 3})
    assert _reached(silent, (5, 7), (2, 3)) == set()


@pytest.mark.parametrize(("channels", "rank"), [(8, 1), (16, 1), (17, 2), (64, 4)])
def test_initial_values_of_the_scan(channels, rank):
    space = SS2D(channels)
    torch.testing.assert_close(-space.A_log.exp(), -torch.arange(1.0, 17).expand(4 * 2 * channels, 16))
    assert torch.equal(space.D, torch.ones(8 * channels))
    steps = F.softplus(space.dt_bias)
    assert steps.min() >= 1e-3 * (1 - 1e-4)
    assert steps.max() <= 1e-1 * (1 + 1e-4)
    assert space.rank == rank
    assert space.x_proj.shape == (4, rank + 32, 2 * channels)


def test_initial_steps_are_log_uniform():
    logs = F.softplus(SS2D(64).dt_bias).log10()
    assert logs.mean().item() == pytest.approx(-2, abs=0.1)
    assert logs.std().item() == pytest.approx(2 / 12**0.5, rel=0.1)


def test_layernorm2d_normalises_every_token_over_its_channels():
    y = LayerNorm2d(6)(5 + 3 * torch.randn(2, 6, 3, 4))
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.square().mean(1), torch.ones(2, 3, 4), atol=1e-3, rtol=0)


class _Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@pytest.mark.parametrize("field", ["small", "large"])
def test_keep_scales_the_identity_path_and_nothing_else(field):
    block, x = VSSBlock(8, field).eval(), torch.randn(1, 8, 4, 5)
    assert all(torch.equal(keep, torch.ones(8, 1, 1)) for keep in (block.keep_mixer, block.keep_convolution))
    with torch.no_grad():
        block.keep_mixer.copy_(torch.rand(8, 1, 1))
        block.keep_convolution.copy_(torch.rand(8, 1, 1))
        middle = x * block.keep_mixer + block.mixer(F.layer_norm(x.movedim(1, -1), [8]).movedim(-1, 1))
        expected = middle * block.keep_convolution + block.convolution(
            F.layer_norm(middle.movedim(1, -1), [8]).movedim(-1, 1)
        )
        torch.testing.assert_close(block(x), expected)
        block.mixer, block.convolution = _Zero(), _Zero()
        torch.testing.assert_close(block(x), x * block.keep_mixer * block.keep_convolution)


def test_without_state_space_the_mixer_is_local():
    block = VSSBlock(8, "small", scan=False)
    assert [(type(m), m.kernel_size, m.groups) for m in block.mixer] == [(nn.Conv2d, (3, 3), 8), (nn.Conv2d, (1, 1), 1)]
    assert not [name for name, _ in block.named_parameters() if "A_log" in name]
    x = torch.randn(1, 8, 9, 9, requires_grad=True)
    (grad,) = torch.autograd.grad(block.mixer(block.norm_mixer(x))[..., 4, 4].sum(), x)
    assert {tuple(p) for p in grad[0].abs().sum(0).nonzero().tolist()} == {(i, j) for i in (3, 4, 5) for j in (3, 4, 5)}


@pytest.mark.parametrize(("channels", "squeezed"), [(8, 8), (16, 8), (32, 8), (36, 9), (64, 16)])
def test_channel_attention_keeps_eight_units_at_least(channels, squeezed):
    attention, x = ChannelAttention(channels), torch.randn(2, channels, 3, 4)
    assert [m.out_channels for m in attention.gate if isinstance(m, nn.Conv2d)] == [squeezed, channels]
    shuffled = x.flatten(2)[..., torch.randperm(12)].unflatten(2, (3, 4))
    gates = attention(x) / x
    torch.testing.assert_close(gates, gates[..., :1, :1].expand_as(x))
    torch.testing.assert_close(attention(shuffled) / shuffled, gates)
    assert gates.min() > 0
    assert gates.max() < 1


@pytest.mark.parametrize(("field", "radius"), [("small", 2), ("large", 3)])
def test_fields_of_the_two_branches(field, radius):
    """VSS_s: two 3×3 convolutions, a third of the channels; VSS_l: a 3×3 and one of dilation 2, all channels."""
    convolutions = channel_attention_block(12, field)[:-1]
    x = torch.randn(1, 12, 9, 9, requires_grad=True)
    (grad,) = torch.autograd.grad(convolutions(x)[..., 4, 4].sum(), x)
    rows = grad[0].abs().sum((0, 2)).nonzero().flatten()
    assert (rows.min().item(), rows.max().item()) == (4 - radius, 4 + radius)
    widths = [m.out_channels for m in convolutions if isinstance(m, nn.Conv2d)]
    assert widths == ([4, 12] if field == "small" else [12, 12, 12, 12])


@pytest.fixture(scope="module")
def any_size() -> dict[str, dict[int, torch.export.Dim]]:
    return {"x": {2: torch.export.Dim("height", min=2, max=512), 3: torch.export.Dim("width", min=2, max=512)}}


@pytest.mark.slow
def test_ss2d_exports_once_for_all_sizes(any_size):
    space = _shaken(SS2D(4, d_state=3)).eval()
    exported = torch.export.export(space, (torch.randn(2, 4, 6, 5),), dynamic_shapes=any_size)
    for size in ((6, 5), (2, 2), (9, 17)):
        x = torch.randn(2, 4, *size)
        torch.testing.assert_close(exported.module()(x), space(x), atol=1e-5, rtol=1e-4)


def test_ss2d_copies_nothing_into_the_scan_of_a_channels_last_map(monkeypatch):
    """Tokens, steps, B and C reach the operator as views of the map and of one projection."""
    seen = []
    monkeypatch.setattr("src.models.vss.selective_scan", lambda *args, **kwargs: seen.append(args) or args[0])
    SS2D(8)(torch.randn(2, 8, 3, 4).to(memory_format=torch.channels_last))
    tokens, step, _A, B, C = seen[0][:5]
    assert tokens.stride(1) == 1
    assert len({x.untyped_storage().data_ptr() for x in (step, B, C)}) == 1
    assert B.stride() == (12 * step.stride(2), 16, 1, step.stride(2))
