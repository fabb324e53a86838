"""The Triton kernels behind :mod:`src.ops.scan.triton_cuda`; imported on first use only.

Time is cut into chunks, and every chunk of every (sample, group) is computed on its own:

1. ``summaries``  what a chunk adds to the state that passes through it, and its ΣΔ: a decay over several steps is
                  exp(A·ΣΔ), so this is a weighted sum;
2. ``chain``      the state before each chunk, from chunk to chunk: the only sequential part;
3. ``outputs``    the states within a chunk by an associative scan, and y; or ``gradients``.

The gradients need the states before each chunk, which the forward pass keeps, and the gradients of the states after
each chunk: by the same two kernels, backward in time. No two programs write to the same place and nothing is added
atomically, so two runs on one device agree to the bit. Decays are only ever multiplied, never divided by.

A program of 1 and 3 goes through one part of the blocks of channels of a chunk, a tile (channels, states, steps) at a
time. Maps are (N, groups, rows, L) with any strides; kept states are arranged as
:func:`src.ops.scan.layout.empty_states` says. Steps beyond L and padded channels have Δ = u = 0 (they leave the state
alone), padded states A = B = C = 0 (they stay 0). ``sizes`` = K (groups that read the same rows of u), G, L, d
(channels a group), S, chunks, blocks, parts.
"""

from __future__ import annotations

import triton
import triton.language as tl

from src.ops.scan.layout import LANES as _LANES

LANES = tl.constexpr(_LANES)


@triton.jit
def _softplus(x):  # type: ignore[no-untyped-def]
    """log(1 + eˣ), to the last digits for x ≪ 0 too: with e = e^−|x| ≤ 1, log(1 + e) = 2·artanh(e / (2 + e)), a fast series."""
    e = tl.exp(-tl.abs(x))
    z = e / (e + 2.0)
    q = z * z
    series = 1 / 15
    for i in tl.static_range(7):
        series = series * q + 1 / (13 - 2 * i)
    return tl.maximum(x, 0.0) + 2.0 * z * series


@triton.jit
def _place(G, chunks, parts):  # type: ignore[no-untyped-def]
    """Part, chunk, group and sample of this program, and the number of the chunk among all."""
    program = tl.program_id(0)
    keep = (program // parts).to(tl.int64)
    return program % parts, (keep % chunks).to(tl.int32), keep // chunks % G, keep // chunks // G, keep


@triton.jit
def _token(order, g, L, t, inside):  # type: ignore[no-untyped-def]
    """Which token group g visits at step t."""
    token = t
    if order is not None:
        token = tl.load(order + g * L + t, inside, 0)
    return token.to(tl.int64)


@triton.jit
def _at(strides, n, g, rows, token):  # type: ignore[no-untyped-def]
    """Where a map keeps (rows, tokens) of sample n and group g, all 64 bits wide."""
    return n * strides[0] + g * strides[1] + rows.to(tl.int64)[:, None] * strides[2] + token[None, :] * strides[3]


@triton.jit
def _steps(delta, at, inside, bias, SOFTPLUS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Δ, 0 outside; and what softplus saw."""
    raw = tl.load(delta + at, inside, 0.0) + bias[:, None]
    step = raw
    if SOFTPLUS:
        step = _softplus(raw)
    return tl.where(inside, step, 0.0), raw


@triton.jit
def _input(u, delta, u_strides, delta_strides, sizes, n, g, channels, token, here, bias, SOFTPLUS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return u and Δ of a tile (channels, steps), 0 where there is no step ``here`` or no channel; and what softplus saw."""
    K, _G, _L, d, _S, _chunks, _blocks, _parts = sizes
    inside = (channels < d)[:, None] & here[None, :]
    u_t = tl.load(u + _at(u_strides, n, g // K, channels, token), inside, 0.0)
    step, raw = _steps(delta, _at(delta_strides, n, g, channels, token), inside, bias, SOFTPLUS)
    return u_t, step, raw


@triton.jit
def _weights(x, g, d, channels):  # type: ignore[no-untyped-def]
    """One weight a channel, 0 where there are none."""
    weights = tl.zeros(channels.shape, tl.float32)
    if x is not None:
        weights = tl.load(x + g * d + channels, channels < d, 0.0)
    return weights


@triton.jit
def _rates(A, g, d, S, channels, states):  # type: ignore[no-untyped-def]
    """A of (channels, states)."""
    inside = (channels < d)[:, None] & (states < S)[None, :]
    return tl.load(A + (g * d + channels)[:, None] * S + states[None, :], inside, 0.0)


@triton.jit
def _kept(d, S, channels, states):  # type: ignore[no-untyped-def]
    """Return where (channels, states) are among the states of a chunk, how many numbers these take, and which exist."""
    width = S + S % 2
    at = (channels // LANES * LANES * width + channels % LANES)[:, None] + states[None, :] * LANES
    return at, tl.cdiv(d, LANES) * width * LANES, (channels < d)[:, None] & (states < S)[None, :]


@triton.jit
def _then(decay, h, next_decay, next_h):  # type: ignore[no-untyped-def]
    """Two stretches of time, one after the other."""
    return decay * next_decay, h * next_decay + next_h


@triton.jit
def _scan(decay, drive, REVERSE: tl.constexpr):  # type: ignore[no-untyped-def]
    """h_t = decay_t·h_{t−1} + drive_t along the steps of a tile; REVERSE: from h_{t+1}."""
    ROWS: tl.constexpr = decay.shape[0] * decay.shape[1]
    STEPS: tl.constexpr = decay.shape[2]
    rows = (tl.reshape(decay, (ROWS, STEPS)), tl.reshape(drive, (ROWS, STEPS)))
    _, h = tl.associative_scan(rows, 1, _then, reverse=REVERSE)
    return tl.reshape(h, decay.shape)


@triton.jit
def summaries(  # type: ignore[no-untyped-def]
    x, delta, A, Z, bias, order, local, total, x_strides, delta_strides, Z_strides, sizes,
    SOFTPLUS: tl.constexpr, BACKWARD: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """``local``: the state after a chunk that starts from 0 (x, Z = u, B); ``total`` (N,G,chunks,d): its ΣΔ.

    BACKWARD: the gradient of the state before a chunk if that of the state after it is 0 (x, Z = dy, C).
    """
    K, G, L, d, S, chunks, blocks, parts = sizes
    part, chunk, g, n, keep = _place(G, chunks, parts)
    states, i = tl.arange(0, STATES), tl.arange(0, CHUNK)
    t = chunk * CHUNK + i
    if not BACKWARD:  # last step first: the decays after a step are a sum from the end, not a difference of two
        t = chunk * CHUNK + CHUNK - 1 - i
    here, later = t < L, (i > 0) & (t + 1 < L)
    token, token_after = _token(order, g, L, t, here), _token(order, g, L, t + 1, later)
    Z_t = tl.load(Z + _at(Z_strides, n, g, states, token), (states < S)[:, None] & here[None, :], 0.0)
    for block in range(blocks * part // parts, blocks * (part + 1) // parts):
        channels = block * CHANNELS + tl.arange(0, CHANNELS)
        existing = (channels < d)[:, None]
        bias_c = _weights(bias, g, d, channels)
        x_t = tl.load(x + _at(x_strides, n, g // K, channels, token), existing & here[None, :], 0.0)
        step, _ = _steps(delta, _at(delta_strides, n, g, channels, token), existing & here[None, :], bias_c, SOFTPLUS)
        if BACKWARD:
            through = tl.cumsum(step, 1)
        else:
            x_t *= step
            at = _at(delta_strides, n, g, channels, token_after)
            step_after, _ = _steps(delta, at, existing & later[None, :], bias_c, SOFTPLUS)
            through = tl.cumsum(step_after, 1)
        decay = tl.exp(_rates(A, g, d, S, channels, states)[:, :, None] * through[:, None, :])
        kept, size, inside_kept = _kept(d, S, channels, states)
        tl.store(local + keep * size + kept, tl.sum(decay * (x_t[:, None, :] * Z_t[None, :, :]), 2), inside_kept)
        tl.store(total + keep * d + channels, tl.sum(step, 1), channels < d)


@triton.jit
def chain(  # type: ignore[no-untyped-def]
    local, total, A, carry, sizes, BACKWARD: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr
):  # fmt: skip
    """``carry``: the state before each chunk; BACKWARD: the gradient of the state after each."""
    _K, G, _L, d, S, chunks, blocks, _parts = sizes
    program = tl.program_id(0)
    block, g, sequence = program % blocks, program // blocks % G, (program // blocks).to(tl.int64)
    channels, states = block * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, STATES)
    rates = _rates(A, g, d, S, channels, states)
    kept, size, inside_kept = _kept(d, S, channels, states)
    state = tl.zeros((CHANNELS, STATES), tl.float32)
    for i in range(chunks):
        keep = sequence * chunks + i
        if BACKWARD:
            keep = sequence * chunks + chunks - 1 - i
        tl.store(carry + keep * size + kept, state, inside_kept)
        through = tl.load(total + keep * d + channels, channels < d, 0.0)
        state = tl.exp(rates * through[:, None]) * state + tl.load(local + keep * size + kept, inside_kept, 0.0)


@triton.jit
def outputs(  # type: ignore[no-untyped-def]
    u, delta, A, B, C, D, bias, order, before, y, u_strides, delta_strides, B_strides, C_strides, y_strides, sizes,
    SOFTPLUS: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Compute y of every group from the states ``before`` each chunk."""
    _K, G, L, d, S, chunks, blocks, parts = sizes
    part, chunk, g, n, keep = _place(G, chunks, parts)
    states, i = tl.arange(0, STATES), tl.arange(0, CHUNK)
    t = chunk * CHUNK + i
    here = t < L
    token = _token(order, g, L, t, here)
    inside_states = (states < S)[:, None] & here[None, :]
    B_t = tl.load(B + _at(B_strides, n, g, states, token), inside_states, 0.0)
    C_t = tl.load(C + _at(C_strides, n, g, states, token), inside_states, 0.0)
    for block in range(blocks * part // parts, blocks * (part + 1) // parts):
        channels = block * CHANNELS + tl.arange(0, CHANNELS)
        inside = (channels < d)[:, None] & here[None, :]
        kept, size, inside_kept = _kept(d, S, channels, states)
        h_before = tl.load(before + keep * size + kept, inside_kept, 0.0)[:, :, None]
        bias_c = _weights(bias, g, d, channels)
        u_t, step, _ = _input(u, delta, u_strides, delta_strides, sizes, n, g, channels, token, here, bias_c, SOFTPLUS)
        decay = tl.exp(_rates(A, g, d, S, channels, states)[:, :, None] * step[:, None, :])
        drive = (step * u_t)[:, None, :] * B_t[None, :, :]
        h = _scan(decay, tl.where((i == 0)[None, None, :], decay * h_before + drive, drive), False)
        y_t = tl.sum(h * C_t[None, :, :], 1) + _weights(D, g, d, channels)[:, None] * u_t
        tl.store(y + _at(y_strides, n, g, channels, token), y_t, inside)


@triton.jit
def _step_gradient(d_step, raw, SOFTPLUS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The gradient of Δ, before softplus where there is one."""
    if SOFTPLUS:
        d_step *= tl.sigmoid(raw)
    return d_step


@triton.jit
def _store_sums(dA, dD, d_bias, at, inside, dA_t, dD_t, d_bias_t, S, states):  # type: ignore[no-untyped-def]
    """Sums over the steps of a tile: dA_t (channels, states, steps), the others (channels, steps)."""
    inside_states = inside[:, None] & (states < S)[None, :]
    tl.store(dA + at[:, None] * S + states[None, :], tl.sum(dA_t, 2), inside_states)
    tl.store(dD + at, tl.sum(dD_t, 1), inside)
    tl.store(d_bias + at, tl.sum(d_bias_t, 1), inside)


@triton.jit
def _state_gradients(rates, step_after, C_t, dy_t, dh_after, is_last):  # type: ignore[no-untyped-def]
    """dh_t = C_t·dy_t + decay_{t+1}·dh_{t+1} of a tile (channels, states, steps), from ``dh_after`` it."""
    d_output = dy_t[:, None, :] * C_t[None, :, :]
    return _scan(
        tl.exp(rates * step_after[:, None, :]), tl.where(is_last, d_output + dh_after[:, :, None], d_output), True
    )


@triton.jit
def _carried(rates, step, scaled_before, B_before, h_before, is_first):  # type: ignore[no-untyped-def]
    """carried_t = decay_t·h_{t−1} = decay_t·(carried_{t−1} + drive_{t−1}): not h_t − drive_t, where small states would drown."""
    decay = tl.exp(rates * step[:, None, :])
    drive_before = scaled_before[:, None, :] * B_before[None, :, :]
    return _scan(decay, decay * tl.where(is_first, h_before[:, :, None], drive_before), False)


@triton.jit
def gradients(  # type: ignore[no-untyped-def]
    dy, u, delta, A, B, C, D, bias, order, before, after, du, d_delta, dA, dB, dC, dD, d_bias,
    dy_strides, u_strides, delta_strides, B_strides, C_strides, du_strides, d_delta_strides, dB_strides, part_stride, sizes,
    SOFTPLUS: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """``after``: the gradient of the state after each chunk.

    Sums are left to the caller: over chunks dA (N,G,chunks,d,S), dD and d_bias (N,G,chunks,d); over parts dB and dC,
    which are ``part_stride`` apart and have the strides ``dB_strides``.
    """
    K, G, L, d, S, chunks, blocks, parts = sizes
    part, chunk, g, n, keep = _place(G, chunks, parts)
    states, i = tl.arange(0, STATES), tl.arange(0, CHUNK)
    t = chunk * CHUNK + i
    here, earlier, later = t < L, (i > 0) & (t - 1 < L), (i < CHUNK - 1) & (t + 1 < L)
    token, token_before, token_after = (
        _token(order, g, L, t, here),
        _token(order, g, L, t - 1, earlier),
        _token(order, g, L, t + 1, later),
    )
    inside_states = (states < S)[:, None] & here[None, :]
    B_t = tl.load(B + _at(B_strides, n, g, states, token), inside_states, 0.0)
    C_t = tl.load(C + _at(C_strides, n, g, states, token), inside_states, 0.0)
    B_before = tl.load(B + _at(B_strides, n, g, states, token_before), (states < S)[:, None] & earlier[None, :], 0.0)
    dB_t, dC_t = tl.zeros((STATES, CHUNK), tl.float32), tl.zeros((STATES, CHUNK), tl.float32)
    for block in range(blocks * part // parts, blocks * (part + 1) // parts):
        channels = block * CHANNELS + tl.arange(0, CHANNELS)
        existing = (channels < d)[:, None]
        inside = existing & here[None, :]
        skip, bias_c = _weights(D, g, d, channels)[:, None], _weights(bias, g, d, channels)
        rates = _rates(A, g, d, S, channels, states)[:, :, None]
        kept, size, inside_kept = _kept(d, S, channels, states)
        h_before = tl.load(before + keep * size + kept, inside_kept, 0.0)
        dh_after = tl.load(after + keep * size + kept, inside_kept, 0.0)
        dy_t = tl.load(dy + _at(dy_strides, n, g // K, channels, token), inside, 0.0)
        u_t, step, raw = _input(
            u, delta, u_strides, delta_strides, sizes, n, g, channels, token, here, bias_c, SOFTPLUS
        )
        at = _at(delta_strides, n, g, channels, token_after)
        step_after, _ = _steps(delta, at, existing & later[None, :], bias_c, SOFTPLUS)
        dh = _state_gradients(rates, step_after, C_t, dy_t, dh_after, (i == CHUNK - 1)[None, None, :])
        x, dt, _ = _input(
            u, delta, u_strides, delta_strides, sizes, n, g, channels, token_before, earlier, bias_c, SOFTPLUS
        )
        carried = _carried(rates, step, dt * x, B_before, h_before, (i == 0)[None, None, :])
        drive = (step * u_t)[:, None, :]
        dC_t += tl.sum(dy_t[:, None, :] * (carried + drive * B_t[None, :, :]), 0)
        dB_t += tl.sum(dh * drive, 0)
        d_exponent, d_drive = dh * carried, tl.sum(dh * B_t[None, :, :], 1)
        d_step = _step_gradient(u_t * d_drive + tl.sum(d_exponent * rates, 1), raw, SOFTPLUS)
        tl.store(du + _at(du_strides, n, g, channels, token), step * d_drive + skip * dy_t, inside)
        tl.store(d_delta + _at(d_delta_strides, n, g, channels, token), d_step, inside)
        _store_sums(
            dA,
            dD,
            d_bias,
            keep * d + channels,
            channels < d,
            d_exponent * step[:, None, :],
            dy_t * u_t,
            d_step,
            S,
            states,
        )
    at = part.to(tl.int64) * part_stride + _at(dB_strides, n, g, states, token)
    tl.store(dB + at, dB_t, inside_states)
    tl.store(dC + at, dC_t, inside_states)
