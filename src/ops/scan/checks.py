"""Check the arguments of a scan, and report everything that is wrong at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from src.ops.scan.inputs import ScanInputs

REQUIRED = ("u", "delta", "A", "B", "C")


def check(inputs: ScanInputs) -> None:
    """Raise a ValueError that lists each wrong argument, its value and what was expected."""
    given = zip(ScanInputs._fields, inputs[:-1], strict=False)
    tensors: dict[str, Any] = {name: x for name, x in given if x is not None or name in REQUIRED}
    wrong = _kinds(tensors) or _dimensions(tensors) or _shapes(tensors) or _route(inputs.order)
    if wrong:
        raise ValueError("selective_scan: " + "; ".join(wrong))


def _kinds(tensors: dict[str, Any]) -> list[str]:
    wrong = [
        f"{name}: got {type(x).__name__}, expected a tensor" for name, x in tensors.items() if not isinstance(x, Tensor)
    ]
    if wrong:
        return wrong
    u = tensors["u"]
    wrong = [f"{name}: got {x.device}, expected {u.device} as u" for name, x in tensors.items() if x.device != u.device]
    if not u.dtype.is_floating_point:
        return [*wrong, f"u: got {u.dtype}, expected a floating point type"]
    for name, x in tensors.items():
        if name == "order":
            if x.dtype not in (torch.int32, torch.int64):
                wrong.append(f"order: got {x.dtype}, expected int32 or int64")
        elif x.dtype != u.dtype and (name in ("delta", "B", "C") or x.dtype != torch.float32):
            wrong.append(
                f"{name}: got {x.dtype}, expected {u.dtype} as u"
                + ("" if name in ("delta", "B", "C") else " (or float32)")
            )
    return wrong


def _dimensions(tensors: dict[str, Tensor]) -> list[str]:
    expected = {"u": 3, "delta": 3, "A": 2, "B": 4, "C": 4, "D": 1, "delta_bias": 1, "delta_proj": 2, "order": 2}
    return [
        f"{name}: got {x.ndim} dimensions {tuple(x.shape)}, expected {expected[name]}"
        for name, x in tensors.items()
        if x.ndim != expected[name]
    ]


def _shapes(tensors: dict[str, Tensor]) -> list[str]:
    u, A, B = tensors["u"], tensors["A"], tensors["B"]
    batch, u_rows, length = u.shape
    rows, states = A.shape
    groups = B.shape[1]
    if length == 0:
        return ["u: got 0 tokens, expected 1 or more"]
    if groups == 0 or rows % groups or rows == 0:
        return [f"A: got {rows} rows, expected a multiple of the {groups} groups of B"]
    if u_rows == 0 or rows % u_rows or u_rows % (rows // groups):
        return [
            f"u: got {u_rows} rows, expected the {rows} rows of A, "
            f"or a part of them made of whole groups of {rows // groups}"
        ]
    rank = tensors["delta_proj"].shape[1] if "delta_proj" in tensors else rows // groups
    expected: dict[str, tuple[int, ...]] = {
        "delta": (batch, groups * rank, length),
        "B": (batch, groups, states, length),
        "C": (batch, groups, states, length),
        "D": (rows,),
        "delta_bias": (rows,),
        "delta_proj": (rows, rank),
        "order": (groups, length),
    }
    shapes = {name: tuple(x.shape) for name, x in tensors.items() if name in expected}
    wrong = [
        f"{name}: got {shape}, expected {expected[name]}" for name, shape in shapes.items() if shape != expected[name]
    ]
    if states == 0:
        wrong.append("A: got 0 states, expected 1 or more")
    if rank == 0:
        wrong.append("delta_proj: got rank 0, expected 1 or more")
    return wrong


def _route(order: Tensor | None) -> list[str]:
    """Return why an order is no permutation: the kernels would otherwise read and write outside of the map.

    Only checked where it is cheap: on a GPU it would wait for the device, and a traced order has no values yet.
    """
    if order is None or order.device.type != "cpu" or type(order) is not Tensor or torch.compiler.is_compiling():
        return []
    groups, length = order.shape
    low, high = (int(bound) for bound in order.aminmax())
    if low < 0 or high >= length:
        return [f"order: got tokens {low} … {high}, expected 0 … {length - 1}"]
    visited = torch.zeros(groups, length, dtype=torch.bool).scatter_(1, order.long(), True)
    incomplete = (~visited.all(1)).nonzero().flatten().tolist()
    return [
        f"order: group {g} visits some token twice and another never, expected a permutation" for g in incomplete[:1]
    ]
