"""The compiled loops behind :mod:`src.ops.scan.numba_cpu`; imported on first use only.

Arrays: u, delta, y (N, G·d, L); A (G·d, S); B, C (N, G, L, S), states innermost so that the inner loop is one vector.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

LOG2E = 1.4426950408889634


@njit(inline="always", fastmath=True)
def _exp(x):  # type: ignore[no-untyped-def]
    """float32 exp that vectorises: 2^n by bits times a polynomial for 2^f, |f| ≤ ½ (relative error 2e-7)."""
    y = np.float32(min(max(x * np.float32(LOG2E), np.float32(-126.0)), np.float32(127.0)))
    n = np.floor(y + np.float32(0.5))
    f = y - n
    p = np.float32(1.5403530e-4)
    p = p * f + np.float32(1.3333558e-3)
    p = p * f + np.float32(9.6181291e-3)
    p = p * f + np.float32(5.5504109e-2)
    p = p * f + np.float32(2.4022651e-1)
    p = p * f + np.float32(6.9314718e-1)
    p = p * f + np.float32(1.0)
    return p * np.int32((np.int32(n) + 127) << 23).view(np.float32)


@njit(parallel=True, fastmath=True, cache=True)
def forward(u, delta, A, B, C, y):  # type: ignore[no-untyped-def]
    batch, groups, length, states = B.shape
    width = u.shape[1] // groups
    for row in prange(batch * groups * width):
        n, r = row // (groups * width), row % (groups * width)
        g = r // width
        h = np.zeros(states, u.dtype)
        for t in range(length):
            step = delta[n, r, t]
            drive = step * u[n, r, t]
            total = u.dtype.type(0)
            for s in range(states):
                h[s] = _exp(step * A[r, s]) * h[s] + drive * B[n, g, t, s]
                total += h[s] * C[n, g, t, s]
            y[n, r, t] = total


@njit(parallel=True, fastmath=True, cache=True)
def backward(u, delta, A, B, C, dy, du, ddelta, dA, dB, dC):  # type: ignore[no-untyped-def]
    """dA is (N, G·d, S), summed over N by the caller; dB and dC start at zero."""
    batch, groups, length, states = B.shape
    width = u.shape[1] // groups
    for task in prange(batch * groups):
        n, g = task // groups, task % groups
        decay = np.empty((length, states), u.dtype)
        before = np.empty((length, states), u.dtype)
        h = np.empty(states, u.dtype)
        dh = np.empty(states, u.dtype)
        for r in range(g * width, (g + 1) * width):
            h[:] = 0
            dh[:] = 0
            for t in range(length):
                step = delta[n, r, t]
                drive = step * u[n, r, t]
                for s in range(states):
                    decay[t, s] = _exp(step * A[r, s])
                    before[t, s] = h[s]
                    h[s] = decay[t, s] * h[s] + drive * B[n, g, t, s]
            for t in range(length - 1, -1, -1):
                step = delta[n, r, t]
                value = u[n, r, t]
                grad = dy[n, r, t]
                d_drive = u.dtype.type(0)
                d_step = u.dtype.type(0)
                for s in range(states):
                    carried = decay[t, s] * before[t, s]
                    state = carried + step * value * B[n, g, t, s]
                    dh[s] += grad * C[n, g, t, s]
                    dC[n, g, t, s] += grad * state
                    dB[n, g, t, s] += dh[s] * step * value
                    d_drive += dh[s] * B[n, g, t, s]
                    d_step += dh[s] * carried * A[r, s]
                    dA[n, r, s] += dh[s] * carried * step
                    dh[s] *= decay[t, s]
                du[n, r, t] = d_drive * step
                ddelta[n, r, t] = d_drive * value + d_step
