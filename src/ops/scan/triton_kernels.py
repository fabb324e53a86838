"""The Triton kernels behind :mod:`src.ops.scan.triton_cuda`; imported on first use only.

Time is cut into chunks, and every chunk of every (sample, group) is computed on its own:

1. ``summaries``  what a chunk adds to the state from before it, and its ΣΔ: the decay over several steps is
                  exp(A·ΣΔ), so this is a weighted sum;
2. ``chain``      the state before each chunk, from chunk to chunk: the only sequential part;
3. ``outputs``    the states within a chunk by an associative scan, and y; or ``gradients``.

The gradients need the states before each chunk, which the forward pass stores, and the gradients of the states after
each chunk, which the first two kernels compute, backwards in time. No two programs write to the same place and nothing
is added atomically, so two runs on one device give identical bits. Decays are only multiplied, never divided by. The
caller sums the outputs of ``gradients``: dA (N,G,chunks,d,S), dD and d_bias (N,G,chunks,d) over chunks, and dB and dC,
which are ``part_stride`` apart and have the strides ``dB_strides``, over parts.

A program of 1 and 3 processes one part of a chunk's blocks of channels, one tile (channels, states, steps) at a time.
Maps are (N, groups, rows, L) with any strides; stored states are arranged as in
:func:`src.ops.scan.layout.empty_states`. Steps beyond L and padded channels have Δ = u = 0 (they do not change the
state), padded states have A = B = C = 0 (they stay 0). ``sizes`` = K (groups that share the same rows of u), G, L, d
(channels per group), S, chunks, blocks, parts.
"""

from __future__ import annotations

import triton
import triton.language as tl

from src.ops.scan.layout import LANES as _LANES

LANES = tl.constexpr(_LANES)


@triton.jit
def _softplus(x):  # type: ignore[no-untyped-def]
    """Return log(1 + eˣ), exact to the last digits even for x ≪ 0.

    With e = e^−|x| ≤ 1, log(1 + e) = 2·artanh(e / (2 + e)), whose series converges fast.
    """
    e = tl.exp(-tl.abs(x))
    z = e / (e + 2.0)
    q = z * z
    series = 1 / 15
    for i in tl.static_range(7):
        series = series * q + 1 / (13 - 2 * i)
    return tl.maximum(x, 0.0) + 2.0 * z * series


@triton.jit
def _place(G, chunks, parts):  # type: ignore[no-untyped-def]
    """Return part, chunk, group and sample of this program, and the index of the chunk among all chunks."""
    program = tl.program_id(0)
    keep = (program // parts).to(tl.int64)
    return program % parts, (keep % chunks).to(tl.int32), keep // chunks % G, keep // chunks // G, keep


@triton.jit
def _token(order, g, L, t, inside):  # type: ignore[no-untyped-def]
    """Return the token that group g visits at step t."""
    token = t
    if order is not None:
        token = tl.load(order + g * L + t, inside, 0)
    return token.to(tl.int64)


@triton.jit
def _at(strides, n, g, rows, token):  # type: ignore[no-untyped-def]
    """Return the offsets of (rows, tokens) of sample n and group g in a map, as 64-bit integers."""
    return n * strides[0] + g * strides[1] + rows.to(tl.int64)[:, None] * strides[2] + token[None, :] * strides[3]


@triton.jit
def _steps(delta, at, inside, bias, SOFTPLUS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return Δ (0 outside) and the input of the softplus."""
    raw = tl.load(delta + at, inside, 0.0) + bias[:, None]
    step = raw
    if SOFTPLUS:
        step = _softplus(raw)
    return tl.where(inside, step, 0.0), raw


@triton.jit
def _input(u, delta, u_strides, delta_strides, sizes, n, g, channels, token, here, bias, SOFTPLUS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return u, Δ and the softplus's input of a tile (channels, steps); u and Δ are 0 off ``here`` and off channels."""
    K, _G, _L, d, _S, _chunks, _blocks, _parts = sizes
    inside = (channels < d)[:, None] & here[None, :]
    u_t = tl.load(u + _at(u_strides, n, g // K, channels, token), inside, 0.0)
    step, raw = _steps(delta, _at(delta_strides, n, g, channels, token), inside, bias, SOFTPLUS)
    return u_t, step, raw


@triton.jit
def _weights(x, g, d, channels):  # type: ignore[no-untyped-def]
    """Return one weight per channel, 0 if there are none."""
    weights = tl.zeros(channels.shape, tl.float32)
    if x is not None:
        weights = tl.load(x + g * d + channels, channels < d, 0.0)
    return weights


@triton.jit
def _rates(A, g, d, S, channels, states):  # type: ignore[no-untyped-def]
    """Return A as (channels, states)."""
    inside = (channels < d)[:, None] & (states < S)[None, :]
    return tl.load(A + (g * d + channels)[:, None] * S + states[None, :], inside, 0.0)


@triton.jit
def _kept(d, S, channels, states):  # type: ignore[no-untyped-def]
    """Return the offsets of (channels, states) in a chunk's stored states, the size of those, and which exist."""
    width = S + S % 2
    at = (channels // LANES * LANES * width + channels % LANES)[:, None] + states[None, :] * LANES
    return at, tl.cdiv(d, LANES) * width * LANES, (channels < d)[:, None] & (states < S)[None, :]


@triton.jit
def _then(decay, h, next_decay, next_h):  # type: ignore[no-untyped-def]
    """Combine two successive intervals of time."""
    return decay * next_decay, h * next_decay + next_h


@triton.jit
def _scan(decay, drive, REVERSE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return h_t = decay_t·h_{t−1} + drive_t along the steps of a tile; REVERSE: with h_{t+1}."""
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
    """Compute ``local``, the state after a chunk that starts from 0 (x, Z = u, B), and ``total``, its ΣΔ.

    ``total`` is (N,G,chunks,d). BACKWARD: ``local`` is the gradient of the state before a chunk if that of the state
    after it is 0 (x, Z = dy, C).
    """
    K, G, L, d, S, chunks, blocks, parts = sizes
    part, chunk, g, n, keep = _place(G, chunks, parts)
    states, i = tl.arange(0, STATES), tl.arange(0, CHUNK)
    t = chunk * CHUNK + i
    if not BACKWARD:  # last step first: ΣΔ after a step is a sum from the end, not a difference of two sums
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
    """Compute ``carry``: the state before each chunk; BACKWARD: the gradient of the state after each chunk."""
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
    """Return the gradient of Δ, or of the softplus's input if there is a softplus."""
    if SOFTPLUS:
        d_step *= tl.sigmoid(raw)
    return d_step


@triton.jit
def _store_sums(dA, dD, d_bias, at, inside, dA_t, dD_t, d_bias_t, S, states):  # type: ignore[no-untyped-def]
    """Store the sums over the steps of a tile: dA_t (channels, states, steps), the others (channels, steps)."""
    inside_states = inside[:, None] & (states < S)[None, :]
    tl.store(dA + at[:, None] * S + states[None, :], tl.sum(dA_t, 2), inside_states)
    tl.store(dD + at, tl.sum(dD_t, 1), inside)
    tl.store(d_bias + at, tl.sum(d_bias_t, 1), inside)


@triton.jit
def _state_gradients(rates, step_after, C_t, dy_t, dh_after, is_last):  # type: ignore[no-untyped-def]
    """Return dh_t = C_t·dy_t + decay_{t+1}·dh_{t+1} of a tile (channels, states, steps), from ``dh_after`` its end."""
    d_output = dy_t[:, None, :] * C_t[None, :, :]
    return _scan(
        tl.exp(rates * step_after[:, None, :]), tl.where(is_last, d_output + dh_after[:, :, None], d_output), True
    )


@triton.jit
def _carried(rates, step, scaled_before, B_before, h_before, is_first):  # type: ignore[no-untyped-def]
    """Return carried_t = decay_t·h_{t−1} = decay_t·(carried_{t−1} + drive_{t−1}).

    Not as h_t − drive_t, which would lose the digits of small states.
    """
    decay = tl.exp(rates * step[:, None, :])
    drive_before = scaled_before[:, None, :] * B_before[None, :, :]
    return _scan(decay, decay * tl.where(is_first, h_before[:, :, None], drive_before), False)


@triton.jit
def gradients(  # type: ignore[no-untyped-def]
    dy, u, delta, A, B, C, D, bias, order, before, after, du, d_delta, dA, dB, dC, dD, d_bias,
    dy_strides, u_strides, delta_strides, B_strides, C_strides, du_strides, d_delta_strides, dB_strides,
    part_stride, sizes, SOFTPLUS: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of every group, from ``after``, the gradient of the state after each chunk."""
    K, G, L, d, S, chunks, blocks, parts = sizes
    part, chunk, g, n, keep = _place(G, chunks, parts)
    states, i = tl.arange(0, STATES), tl.arange(0, CHUNK)
    t = chunk * CHUNK + i
    here, earlier, later = t < L, (i > 0) & (t - 1 < L), (i < CHUNK - 1) & (t + 1 < L)
    token = _token(order, g, L, t, here)
    token_before, token_after = _token(order, g, L, t - 1, earlier), _token(order, g, L, t + 1, later)
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
        dA_t = d_exponent * step[:, None, :]
        _store_sums(dA, dD, d_bias, keep * d + channels, channels < d, dA_t, dy_t * u_t, d_step, S, states)
    at = part.to(tl.int64) * part_stride + _at(dB_strides, n, g, states, token)
    tl.store(dB + at, dB_t, inside_states)
    tl.store(dC + at, dC_t, inside_states)
