"""The compiled loops behind :mod:`src.ops.scan.numba_cpu`; imported on first use only.

The 16 lanes are 16 channels of a group (a block), so the forward pass sums nothing across lanes, and h, A and the
outputs stay in order. Time is processed in chunks: a chunk's u, Δ, B and C are copied into small tiles, token by token,
whatever their layout. The forward pass stores the states at the start of each chunk; the backward pass recomputes the
others.

A task is one part of the channel blocks of one sample and one row group of u: no two tasks write to the same place, and
the sums over channels (gradients of B, C and the low-rank Δ) have one buffer per part. The division of blocks into
parts does not depend on the number of threads, so neither do the results.

Arrays are flat. ``sizes`` = N, P (row groups of u), K (groups of B that share rows of u), L, d (channels per group), S,
R (rank of Δ; 0: Δ is given in full), chunk, parts. ``strides`` = those of sample, row (channel or state) and token.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from src.ops.scan import numba_vectors
from src.ops.scan.numba_vectors import (
    LANES,
    broadcast,
    divide,
    exp2,
    fma,
    fold,
    in_registers,
    load,
    log1p,
    maximum,
    minimum,
    prefetch,
    splat,
    store,
    total,
    transpose,
)
from src.utils.jit import compiled

LOG2E = 1.4426950408889634


_kernel = compiled(numba_vectors.__file__)


@njit(inline="always")
def _scratch(size, like):  # type: ignore[no-untyped-def]
    """Return uninitialised memory that starts at a cache line."""
    memory = np.empty(size + 64 // like.itemsize, like.dtype)
    start = -memory.ctypes.data % 64 // like.itemsize
    return memory[start : start + size]


@njit(inline="always")
def _token(order, route, t):  # type: ignore[no-untyped-def]
    return order[route + t] if order.size > 0 else t


@njit
def _fetch(tile, width, source, base, strides, rows, order, route, first, steps):  # type: ignore[no-untyped-def]
    """Set tile[i·width + r] to the source at row r of the token of step first + i; rows beyond ``rows`` become 0.

    The source is stored token by token, or channel by channel. In the latter case 16×16 blocks are transposed in
    registers, and the next tokens of each channel are prefetched.
    """
    _, stride, token_stride = strides
    if rows < width:
        tile[: steps * width] = 0
    if stride == 1 or order.size > 0 or token_stride != 1:
        whole = rows // LANES * LANES if stride == 1 else 0
        for i in range(steps):
            at = base + _token(order, route, first + i) * token_stride
            for r in range(0, whole, LANES):
                store(tile, i * width + r, load(source, at + r))
            for r in range(whole, rows):
                tile[i * width + r] = source[at + r * stride]
        return
    whole_rows, whole_steps = rows // LANES * LANES, steps // LANES * LANES
    for r in range(0, whole_rows, LANES):
        at = base + r * stride + first
        for i in range(0, whole_steps, LANES):
            transpose(source, at + i, stride, tile, i * width + r, width)
        for k in range(LANES):
            for i in range(0, steps, 64 // source.itemsize):
                prefetch(source, at + k * stride + i + steps)
            for i in range(whole_steps, steps):
                tile[i * width + r + k] = source[at + k * stride + i]
    for r in range(whole_rows, rows):
        for i in range(steps):
            tile[i * width + r] = source[base + r * stride + first + i]


@njit
def _put(tile, target, base, strides, rows, order, route, first, steps, add):  # type: ignore[no-untyped-def]
    """Write one block of channels back; with ``add``, accumulate (token-major layout only)."""
    _, stride, token_stride = strides
    if stride == 1 or order.size > 0 or token_stride != 1:
        for i in range(steps):
            at = base + _token(order, route, first + i) * token_stride
            if rows == LANES and stride == 1:
                lanes = load(tile, i * LANES)
                store(target, at, lanes + load(target, at) if add else lanes)
            else:
                for r in range(rows):
                    target[at + r * stride] = tile[i * LANES + r] + (target[at + r * stride] if add else 0)
        return
    whole = steps // LANES * LANES if rows == LANES else 0
    at = base + first
    for i in range(0, whole, LANES):
        transpose(tile, i * LANES, LANES, target, at + i, stride)
    for r in range(rows):
        for i in range(whole, steps):
            target[at + r * stride + i] = tile[i * LANES + r]


@njit
def _columns(tile, source, at, rows, count, width, factor):  # type: ignore[no-untyped-def]
    """Set tile[j·16 + c] to factor·source[at + c·count + j] for a block of ``rows`` channels; other lanes become 0."""
    tile[: width * LANES] = 0
    for c in range(rows):
        for j in range(count):
            tile[j * LANES + c] = source[at + c * count + j] * factor


@njit
def _step_sizes(delta, raw, low, weights, bias, rank, steps, softplus, table):  # type: ignore[no-untyped-def]
    """Compute Δ of a block, in ``delta``: given in full (``raw``) or of low rank, plus bias, through softplus.

    ``raw`` holds the input of the softplus afterwards.
    """
    registers, zero = in_registers(table), splat(table, 0.0)
    for i in range(steps):
        x = load(bias, 0)
        if rank == 0:
            x = x + load(raw, i * LANES)
        for j in range(rank):
            x = fma(broadcast(low, i * rank + j), load(weights, j * LANES), x)
        store(raw, i * LANES, x)
        if softplus:
            e = exp2(minimum(x, zero - x) * splat(table, LOG2E), registers)
            x = maximum(x, zero) + log1p(e, table)
        store(delta, i * LANES, x)


@njit
def _through_softplus(d_delta, raw, steps, table):  # type: ignore[no-untyped-def]
    """Multiply d_delta by σ(raw), computed without subtracting nearly equal numbers for either sign."""
    registers, zero, one, log2e = in_registers(table), splat(table, 0.0), splat(table, 1.0), splat(table, LOG2E)
    for i in range(steps):
        x = load(raw, i * LANES)
        below = exp2(minimum(x, zero) * log2e, registers)
        e = exp2(minimum(x, zero - x) * log2e, registers)
        store(d_delta, i * LANES, load(d_delta, i * LANES) * divide(below, one + e))


@njit
def _constants(decay, W_tile, D_tile, bias_tile, A, weights, D, bias, g, d, S, R, begin, end):  # type: ignore[no-untyped-def]
    """Copy group g's A (for powers of two), Δ's weights, D and bias into tiles, block after block.

    The blocks are those from ``begin`` to ``end`` − 1.
    """
    width = S + S % 2
    for b in range(begin, end):
        channel, rows = g * d + b * LANES, min(LANES, d - b * LANES)
        _columns(decay[b * width * LANES :], A, channel * S, rows, S, width, LOG2E)
        _columns(W_tile[b * R * LANES :], weights, channel * R, rows, R, R, 1.0)
        _columns(D_tile[b * LANES :], D, channel, rows, min(1, D.size), 1, 1.0)
        _columns(bias_tile[b * LANES :], bias, channel, rows, min(1, bias.size), 1, 1.0)


@njit
def _scan(x_tile, h, step, decay, B_tile, C_tile, D_tile, width, steps, table):  # type: ignore[no-untyped-def]
    """Run the recurrence over one block's chunk, in place: x_tile holds u before and y after; h holds the state."""
    registers, zero, skip = in_registers(table), splat(table, 0.0), load(D_tile, 0)
    for i in range(steps):
        dt, x = load(step, i * LANES), load(x_tile, i * LANES)
        drive, even, odd = dt * x, skip * x, zero
        for s in range(0, width, 2):
            at, to = s * LANES, i * width + s
            h0 = fma(exp2(dt * load(decay, at), registers), load(h, at), drive * broadcast(B_tile, to))
            h1 = fma(
                exp2(dt * load(decay, at + LANES), registers), load(h, at + LANES), drive * broadcast(B_tile, to + 1)
            )
            store(h, at, h0)
            store(h, at + LANES, h1)
            even, odd = fma(h0, broadcast(C_tile, to), even), fma(h1, broadcast(C_tile, to + 1), odd)
        store(x_tile, i * LANES, even + odd)


@njit
def _recompute(carries, h, step, u_tile, decay, B_tile, width, steps, table):  # type: ignore[no-untyped-def]
    """Compute exp(ΔA)·h of every step of one block's chunk, in ``carries``, from h at its start."""
    registers = in_registers(table)
    for i in range(steps):
        dt = load(step, i * LANES)
        drive = dt * load(u_tile, i * LANES)
        for s in range(0, width * LANES, LANES):
            carried = exp2(dt * load(decay, s), registers) * load(h, s)
            store(carries, i * width * LANES + s, carried)
            store(h, s, fma(drive, broadcast(B_tile, i * width + s // LANES), carried))


@njit
def _reverse(  # type: ignore[no-untyped-def]
    du_tile, d_step, dB_sum, dC_sum, dA_sum, dh, dD_sum, dB_lanes, dC_lanes,
    carries, step, u_tile, dy_tile, decay, B_tile, C_tile, D_tile, width, steps, table,
):  # fmt: skip
    """Run the recurrence backwards over one block's chunk.

    Writes du and dΔ, adds to the sums, and carries dh from the chunk's end to its start.
    """
    registers, zero, ln2 = in_registers(table), splat(table, 0.0), splat(table, 1 / LOG2E)
    padded, skip, dD_block = dB_lanes.size // LANES, load(D_tile, 0), load(dD_sum, 0)
    for i in range(steps - 1, -1, -1):
        dt, x, dy_t = load(step, i * LANES), load(u_tile, i * LANES), load(dy_tile, i * LANES)
        drive, d_drive, d_exponent = dt * x, zero, zero
        for s in range(width):
            lanes, to = s * LANES, i * width + s
            B_t, decay_s, carried = broadcast(B_tile, to), load(decay, lanes), load(carries, to * LANES)
            dh_t = fma(dy_t, broadcast(C_tile, to), load(dh, lanes))
            through_decay = dh_t * carried
            store(dC_lanes, lanes, dy_t * fma(drive, B_t, carried))
            store(dB_lanes, lanes, dh_t * drive)
            store(dA_sum, lanes, fma(through_decay, dt, load(dA_sum, lanes)))
            store(dh, lanes, dh_t * exp2(dt * decay_s, registers))
            d_drive = fma(dh_t, B_t, d_drive)
            d_exponent = fma(through_decay, decay_s, d_exponent)
        for s in range(0, padded, LANES):
            at = i * padded + s
            store(dB_sum, at, load(dB_sum, at) + fold(dB_lanes, s * LANES))
            store(dC_sum, at, load(dC_sum, at) + fold(dC_lanes, s * LANES))
        store(du_tile, i * LANES, fma(dt, d_drive, skip * dy_t))
        store(d_step, i * LANES, fma(x, d_drive, d_exponent * ln2))
        dD_block = fma(dy_t, x, dD_block)
    store(dD_sum, 0, dD_block)


@njit
def _through_projection(d_low_sum, dW_sum, d_bias_sum, d_step, W_tile, low, rank, steps):  # type: ignore[no-untyped-def]
    """Add dΔ of one block's chunk to the gradients of the bias, of the projection and of the projected low-rank Δ."""
    d_bias = load(d_bias_sum, 0)
    for i in range(steps):
        d_raw = load(d_step, i * LANES)
        d_bias = d_bias + d_raw
        for j in range(rank):
            at, to = (i * rank + j) * LANES, j * LANES
            store(d_low_sum, at, fma(d_raw, load(W_tile, to), load(d_low_sum, at)))
            store(dW_sum, to, fma(d_raw, broadcast(low, i * rank + j), load(dW_sum, to)))
    store(d_bias_sum, 0, d_bias)


@_kernel
def forward(task, u, delta, A, B, C, D, bias, weights, order, y, states, table, sizes, strides, softplus):  # type: ignore[no-untyped-def]
    """Compute y for one task; ``strides`` of u, delta, B, C, y. If ``states`` is empty, no states are stored."""
    _, P, K, L, d, S, R, chunk, parts = sizes
    u_strides, delta_strides, B_strides, C_strides, y_strides = strides
    blocks, width, chunks = (d + LANES - 1) // LANES, S + S % 2, (L + chunk - 1) // chunk
    block = width * LANES
    B_tile, C_tile, low = _scratch(chunk * width, u), _scratch(chunk * width, u), _scratch(chunk * R, u)
    x_tile, step = _scratch(chunk * LANES, u), _scratch(chunk * LANES, u)  # x_tile: u at first, y at last
    decay, h = _scratch(blocks * block, u), _scratch(blocks * block, u)
    W_tile = _scratch(blocks * R * LANES, u)
    D_tile, bias_tile = _scratch(blocks * LANES, u), _scratch(blocks * LANES, u)
    n, p, part = task // (P * parts), task // parts % P, task % parts
    begin, end = blocks * part // parts, blocks * (part + 1) // parts
    for k in range(K):
        g = p * K + k
        h[:] = 0
        _constants(decay, W_tile, D_tile, bias_tile, A, weights, D, bias, g, d, S, R, begin, end)
        for c in range(chunks):
            t, steps = c * chunk, min(chunk, L - c * chunk)
            _fetch(B_tile, width, B, n * B_strides[0] + g * S * B_strides[1], B_strides, S, order, g * L, t, steps)
            _fetch(C_tile, width, C, n * C_strides[0] + g * S * C_strides[1], C_strides, S, order, g * L, t, steps)
            if R > 0:
                at = n * delta_strides[0] + g * R * delta_strides[1]
                _fetch(low, R, delta, at, delta_strides, R, order, g * L, t, steps)
            for b in range(begin, end):
                channel, rows = b * LANES, min(LANES, d - b * LANES)
                at = n * u_strides[0] + (p * d + channel) * u_strides[1]
                _fetch(x_tile, LANES, u, at, u_strides, rows, order, g * L, t, steps)
                if R == 0:
                    at = n * delta_strides[0] + (g * d + channel) * delta_strides[1]
                    _fetch(step, LANES, delta, at, delta_strides, rows, order, g * L, t, steps)
                _step_sizes(step, step, low, W_tile[b * R * LANES :], bias_tile[b * LANES :], R, steps, softplus, table)
                if states.size > 0:
                    keep = ((n * P * K + g) * chunks + c) * blocks + b
                    states[keep * block : (keep + 1) * block] = h[b * block : (b + 1) * block]
                h_block, decay_block, skip = h[b * block :], decay[b * block :], D_tile[b * LANES :]
                _scan(x_tile, h_block, step, decay_block, B_tile, C_tile, skip, width, steps, table)
                at = n * y_strides[0] + (p * d + channel) * y_strides[1]
                _put(x_tile, y, at, y_strides, rows, order, g * L, t, steps, k > 0)


@njit
def _reverse_block(  # type: ignore[no-untyped-def]
    inputs, outputs, fetched, tiles, constants, sums, place, order, table, sizes, strides, softplus
):  # fmt: skip
    """Run the backward pass of one block's chunk: recompute its states, go back through them, write du.

    It also writes the gradient of Δ, if Δ is given in full.
    """
    (u, delta, dy, states), (du, d_delta), (B_tile, C_tile, low) = inputs, outputs, fetched
    u_tile, dy_tile, du_tile, raw, step, d_step, h, carries, dB_lanes, dC_lanes = tiles
    decay, W_tile, D_tile, bias_tile = constants
    dB_sum, dC_sum, d_low_sum, dA_sum, dh, dD_sum, d_bias_sum, dW_sum = sums
    n, p, k, c, b = place
    _, P, K, L, d, S, R, chunk, _ = sizes
    u_strides, delta_strides, _, _, dy_strides, du_strides, d_delta_strides = strides
    g, blocks, width, chunks = p * K + k, (d + LANES - 1) // LANES, S + S % 2, (L + chunk - 1) // chunk
    block, first, route = width * LANES, c * chunk, g * L
    steps, channel, rows = min(chunk, L - first), b * LANES, min(LANES, d - b * LANES)
    at = n * u_strides[0] + (p * d + channel) * u_strides[1]
    _fetch(u_tile, LANES, u, at, u_strides, rows, order, route, first, steps)
    at = n * dy_strides[0] + (p * d + channel) * dy_strides[1]
    _fetch(dy_tile, LANES, dy, at, dy_strides, rows, order, route, first, steps)
    if R == 0:
        at = n * delta_strides[0] + (g * d + channel) * delta_strides[1]
        _fetch(raw, LANES, delta, at, delta_strides, rows, order, route, first, steps)
    _step_sizes(step, raw, low, W_tile[b * R * LANES :], bias_tile[b * LANES :], R, steps, softplus, table)
    keep = ((n * P * K + g) * chunks + c) * blocks + b
    h[:] = states[keep * block : (keep + 1) * block]
    _recompute(carries, h, step, u_tile, decay[b * block :], B_tile, width, steps, table)
    _reverse(
        du_tile, d_step, dB_sum, dC_sum, dA_sum[b * block :], dh[b * block :], dD_sum[b * LANES :], dB_lanes, dC_lanes,
        carries, step, u_tile, dy_tile, decay[b * block :], B_tile, C_tile, D_tile[b * LANES :], width, steps, table,
    )  # fmt: skip
    if softplus:
        _through_softplus(d_step, raw, steps, table)
    to = b * R * LANES
    _through_projection(d_low_sum, dW_sum[to:], d_bias_sum[b * LANES :], d_step, W_tile[to:], low, R, steps)
    at = n * du_strides[0] + (p * d + channel) * du_strides[1]
    _put(du_tile, du, at, du_strides, rows, order, route, first, steps, k > 0)
    if R == 0:
        at = n * d_delta_strides[0] + (g * d + channel) * d_delta_strides[1]
        _put(d_step, d_delta, at, d_delta_strides, rows, order, route, first, steps, False)


@njit
def _write_token_sums(dB, dC, d_delta, dB_sum, dC_sum, d_low_sum, order, sizes, n, g, part, first, steps):  # type: ignore[no-untyped-def]
    """Write the sums over a chunk's blocks for each of its tokens: dB, dC and the gradient of a low-rank Δ."""
    N, P, K, L, _, S, R, _, _ = sizes
    padded = (S + LANES - 1) // LANES * LANES
    for i in range(steps):
        row = ((part * N + n) * L + _token(order, g * L, first + i)) * P * K + g
        for s in range(S):
            dB[row * S + s], dC[row * S + s] = dB_sum[i * padded + s], dC_sum[i * padded + s]
        for j in range(R):
            d_delta[row * R + j] = total(load(d_low_sum, (i * R + j) * LANES))


@njit
def _write_channel_sums(  # type: ignore[no-untyped-def]
    dA, dD, d_bias, d_weights, dA_sum, dD_sum, d_bias_sum, dW_sum, sizes, n, g, begin, end
):  # fmt: skip
    """Write the sums over the chunks for each channel of the blocks from ``begin`` to ``end`` − 1."""
    _, P, K, _, d, S, R, _, _ = sizes
    block = (S + S % 2) * LANES
    for b in range(begin, end):
        for r in range(min(LANES, d - b * LANES)):
            channel = (n * P * K + g) * d + b * LANES + r
            dD[channel], d_bias[channel] = dD_sum[b * LANES + r], d_bias_sum[b * LANES + r]
            for s in range(S):
                dA[channel * S + s] = dA_sum[b * block + s * LANES + r]
            for j in range(R):
                d_weights[channel * R + j] = dW_sum[(b * R + j) * LANES + r]


@_kernel
def backward(  # type: ignore[no-untyped-def]
    task, u, delta, A, B, C, D, bias, weights, order, dy, states,
    du, d_delta, dA, dB, dC, dD, d_bias, d_weights, table, sizes, strides, softplus,
):  # fmt: skip
    """Compute the gradients of one task; ``strides`` of u, delta, B, C, dy, du, d_delta.

    The caller sums over N: dA (N,G·d,S), dD and d_bias (N,G·d), d_weights (N,G·d,R); and over parts: dB and dC
    (parts,N,L,G·S), and with R > 0 d_delta (parts,N,L,G·R).
    """
    _, P, K, L, d, S, R, chunk, parts = sizes
    _, delta_strides, B_strides, C_strides, _, _, _ = strides
    blocks, width, chunks = (d + LANES - 1) // LANES, S + S % 2, (L + chunk - 1) // chunk
    block, padded = width * LANES, (S + LANES - 1) // LANES * LANES
    B_tile, C_tile, low = _scratch(chunk * width, u), _scratch(chunk * width, u), _scratch(chunk * R, u)
    u_tile, dy_tile, du_tile = _scratch(chunk * LANES, u), _scratch(chunk * LANES, u), _scratch(chunk * LANES, u)
    raw, step, d_step = _scratch(chunk * LANES, u), _scratch(chunk * LANES, u), _scratch(chunk * LANES, u)
    decay, dh, dA_sum = _scratch(blocks * block, u), _scratch(blocks * block, u), _scratch(blocks * block, u)
    W_tile, dW_sum = _scratch(blocks * R * LANES, u), _scratch(blocks * R * LANES, u)
    D_tile, bias_tile, dD_sum = _scratch(blocks * LANES, u), _scratch(blocks * LANES, u), _scratch(blocks * LANES, u)
    d_bias_sum, h = _scratch(blocks * LANES, u), _scratch(block, u)
    carries, dB_lanes, dC_lanes = _scratch(chunk * block, u), _scratch(padded * LANES, u), _scratch(padded * LANES, u)
    dB_lanes[:], dC_lanes[:] = 0, 0
    dB_sum, dC_sum, d_low_sum = _scratch(chunk * padded, u), _scratch(chunk * padded, u), _scratch(chunk * R * LANES, u)
    tiles = (u_tile, dy_tile, du_tile, raw, step, d_step, h, carries, dB_lanes, dC_lanes)
    constants = (decay, W_tile, D_tile, bias_tile)
    sums = (dB_sum, dC_sum, d_low_sum, dA_sum, dh, dD_sum, d_bias_sum, dW_sum)
    inputs, outputs, fetched = (u, delta, dy, states), (du, d_delta), (B_tile, C_tile, low)
    n, p, part = task // (P * parts), task // parts % P, task % parts
    begin, end = blocks * part // parts, blocks * (part + 1) // parts
    for k in range(K):
        g = p * K + k
        for sum_ in (dh, dA_sum, dW_sum, dD_sum, d_bias_sum):
            sum_[:] = 0
        _constants(decay, W_tile, D_tile, bias_tile, A, weights, D, bias, g, d, S, R, begin, end)
        for c in range(chunks - 1, -1, -1):
            t, steps = c * chunk, min(chunk, L - c * chunk)
            for sum_ in (dB_sum, dC_sum, d_low_sum):
                sum_[:] = 0
            _fetch(B_tile, width, B, n * B_strides[0] + g * S * B_strides[1], B_strides, S, order, g * L, t, steps)
            _fetch(C_tile, width, C, n * C_strides[0] + g * S * C_strides[1], C_strides, S, order, g * L, t, steps)
            if R > 0:
                at = n * delta_strides[0] + g * R * delta_strides[1]
                _fetch(low, R, delta, at, delta_strides, R, order, g * L, t, steps)
            for b in range(begin, end):
                place = (n, p, k, c, b)
                _reverse_block(
                    inputs, outputs, fetched, tiles, constants, sums, place, order, table, sizes, strides, softplus
                )
            _write_token_sums(dB, dC, d_delta, dB_sum, dC_sum, d_low_sum, order, sizes, n, g, part, t, steps)
        _write_channel_sums(dA, dD, d_bias, d_weights, dA_sum, dD_sum, d_bias_sum, dW_sum, sizes, n, g, begin, end)
