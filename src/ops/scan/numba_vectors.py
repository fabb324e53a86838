"""Vectors of sixteen lanes inside Numba functions: LLVM's own vectoriser is not reliable for the scan.

``load``, ``broadcast`` and ``store`` move lanes between registers and flat arrays, ``+ − ×`` and ``fma`` compute,
``exp2`` and ``log1p`` are polynomials. LLVM maps sixteen float32 lanes to the processor's registers: one of AVX-512,
two of AVX2, four of NEON.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.extending import models, overload, register_jitable, register_model

intrinsic: Any = extending.intrinsic  # the first argument comes from Numba, not from the caller

LANES = 16
INT32 = ir.IntType(32)
HAS_SCALEF = bool(llvm.get_host_cpu_features().get("avx512f")) and "NUMBA_CPU_NAME" not in os.environ
"""Whether one AVX-512 instruction can multiply by a power of two, including exponents out of range."""


class Vector(types.Type):
    """Numba's type of sixteen float32 or float64 numbers."""

    def __init__(self, element: Any) -> None:
        self.element = element
        super().__init__(name=f"Vector({element})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, ir.VectorType(manager.lookup(vector.element).get_value_type(), LANES))


def _pointer(
    context: Any, builder: Any, array_type: Any, array: Any, index_type: Any, index: Any, lanes: bool = True
) -> Any:
    index = context.cast(builder, index, index_type, types.intp)
    pointer = builder.gep(context.make_array(array_type)(context, builder, array).data, [index])
    return builder.bitcast(pointer, context.get_value_type(Vector(array_type.dtype)).as_pointer()) if lanes else pointer


def _in_all_lanes(builder: Any, scalar: Any) -> Any:
    nothing = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    first = builder.insert_element(nothing, scalar, INT32(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES))


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """Return array[index : index + 16]; bounds are not checked."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _pointer(context, builder, signature.args[0], args[0], signature.args[1], args[1])
        return builder.load(at, align=array.dtype.bitwidth // 8)

    return Vector(array.dtype)(array, index), codegen


@intrinsic
def store(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Set array[index : index + 16] to the lanes; bounds are not checked."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _pointer(context, builder, signature.args[0], args[0], signature.args[1], args[1])
        builder.store(args[2], at, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, index, lanes), codegen


@intrinsic
def broadcast(typing: Any, array: Any, index: Any) -> Any:
    """Return array[index] in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _pointer(context, builder, signature.args[0], args[0], signature.args[1], args[1], lanes=False)
        return _in_all_lanes(builder, builder.load(at))

    return Vector(array.dtype)(array, index), codegen


@intrinsic
def splat(typing: Any, array: Any, number: Any) -> Any:
    """Return a number in every lane of a vector of the array's dtype."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _in_all_lanes(builder, context.cast(builder, args[1], signature.args[1], array.dtype))

    return Vector(array.dtype)(array, number), codegen


@intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Prefetch the cache line of array[index], which may be beyond the end."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _pointer(context, builder, signature.args[0], args[0], signature.args[1], args[1], lanes=False)
        at = builder.bitcast(at, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [at.type, INT32, INT32, INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [at, INT32(0), INT32(2), INT32(1)])
        return context.get_dummy_value()

    return types.void(array, index), codegen


@intrinsic
def transpose(typing: Any, source: Any, at: Any, stride: Any, target: Any, to: Any, step: Any) -> Any:
    """Set target[to + step·i + j] to source[at + stride·j + i] for i, j < 16.

    It happens in registers, in four rounds that swap half-blocks.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args

        def row(array: int, k: int) -> Any:
            start, stride = (context.cast(builder, args[array + i], kinds[array + i], types.intp) for i in (1, 2))
            index = builder.add(start, builder.mul(stride, ir.Constant(start.type, k)))
            return _pointer(context, builder, kinds[array], args[array], types.intp, index)

        align = source.dtype.bitwidth // 8
        rows = [builder.load(row(0, k), align=align) for k in range(LANES)]
        half = LANES // 2
        while half:
            low, high = _half_blocks(half)
            for k in range(LANES):
                if not k & half:
                    a, b = rows[k], rows[k + half]
                    rows[k], rows[k + half] = builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high)
            half //= 2
        for k in range(LANES):
            builder.store(rows[k], row(3, k), align=align)
        return context.get_dummy_value()

    return types.void(source, at, stride, target, to, step), codegen


@intrinsic
def fold(typing: Any, array: Any, index: Any) -> Any:
    """Return the sum of array[index + 16·k : index + 16·k + 16] in lane k, by the rounds of `transpose` with sums."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = context.cast(builder, args[1], signature.args[1], types.intp)
        at = (builder.add(start, ir.Constant(start.type, LANES * k)) for k in range(LANES))
        pointers = (_pointer(context, builder, signature.args[0], args[0], types.intp, k) for k in at)
        rows = [builder.load(pointer, align=array.dtype.bitwidth // 8) for pointer in pointers]
        while len(rows) > 1:
            half = len(rows) // 2
            low, high = _half_blocks(half)
            rows = [
                builder.fadd(builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high))
                for a, b in zip(rows[:half], rows[half:], strict=True)
            ]
        return rows[0]

    return Vector(array.dtype)(array, index), codegen


def _half_blocks(half: int) -> tuple[Any, Any]:
    """Return the shuffle masks that join the first, and the second, half-blocks of two vectors."""
    low = [lane if not lane & half else LANES + lane - half for lane in range(LANES)]
    high = [lane + half if not lane & half else LANES + lane for lane in range(LANES)]
    kind = ir.VectorType(INT32, LANES)
    return ir.Constant(kind, low), ir.Constant(kind, high)


def _operation(emit: Callable[..., Any]) -> Any:
    @intrinsic
    def operation(typing: Any, a: Any, b: Any) -> Any:
        return a(a, b), lambda context, builder, signature, args: emit(builder, *args)

    return operation


_FAST = ("nsz", "contract")  # NaN and infinity are kept: a diverged weight must be visible
_add = _operation(lambda builder, a, b: builder.fadd(a, b, flags=_FAST))
_sub = _operation(lambda builder, a, b: builder.fsub(a, b, flags=_FAST))
_mul = _operation(lambda builder, a, b: builder.fmul(a, b, flags=_FAST))
divide = _operation(lambda builder, a, b: builder.fdiv(a, b))
maximum = _operation(lambda builder, a, b: builder.select(builder.fcmp_unordered(">", a, b), a, b))
minimum = _operation(lambda builder, a, b: builder.select(builder.fcmp_unordered("<", a, b), a, b))


def _overload(symbol: Any, operation: Any) -> None:
    @overload(symbol, inline="always", strict=False)
    def implementation(a: Any, b: Any) -> Any:
        return (lambda a, b: operation(a, b)) if isinstance(a, Vector) and isinstance(b, Vector) else None


for _symbol, _emit in ((operator.add, _add), (operator.sub, _sub), (operator.mul, _mul)):
    _overload(_symbol, _emit)


def _llvm_call(builder: Any, name: str, args: Any, result: Any = None, **options: Any) -> Any:
    element = "f32" if args[-1].type.element == ir.FloatType() else "f64"
    kind = ir.FunctionType(result or args[-1].type, [arg.type for arg in args])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}{element}")
    return builder.call(function, args, **options)


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a·b + c, rounded once."""
    return a(a, b, c), lambda context, builder, signature, args: _llvm_call(builder, "fma", args)


@intrinsic
def total(typing: Any, a: Any) -> Any:
    """Return the sum of the lanes, added in an order that is fast on the processor (always the same one)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.Constant(args[0].type.element, -0.0)
        return _llvm_call(builder, "vector.reduce.fadd", [zero, args[0]], zero.type, fastmath=("reassoc",))

    return a.element(a), codegen


@intrinsic
def _round(typing: Any, a: Any) -> Any:
    return a(a), lambda context, builder, signature, args: _llvm_call(builder, "roundeven", args)


@intrinsic
def _log(typing: Any, a: Any) -> Any:
    return a(a), lambda context, builder, signature, args: _llvm_call(builder, "log", args)


@intrinsic
def _scalef(typing: Any, a: Any, n: Any) -> Any:
    """Return a·2ⁿ for integral n, by AVX-512."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, mask = args[0].type, ir.IntType(16)
        kind = ir.FunctionType(vector, [vector, vector, vector, mask, INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.mask.scalef.ps.512")
        return builder.call(function, [args[0], args[1], args[0], mask(-1), INT32(4)])

    return a(a, n), codegen


@intrinsic
def _add_exponent(typing: Any, a: Any, shifted: Any) -> Any:
    """Return a·2ⁿ for ``shifted`` = n + 1.5·2^(mantissa bits): n is in its lowest bits and is added to a's exponent."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits, mantissa = (32, 23) if a.element == types.float32 else (64, 52)
        integers = ir.VectorType(ir.IntType(bits), LANES)
        value, n = (builder.bitcast(arg, integers) for arg in args)
        n = builder.shl(n, ir.Constant(integers, [mantissa] * LANES))
        return builder.bitcast(builder.add(value, n), args[0].type)

    return a(a, shifted), codegen


EXP2 = {  # 2^f − 1 = f·(c₁ + c₂f + …) for |f| ≤ ½, highest first; 2⁰ is exactly 1, so that slow decays do not drift
    np.float32: [
        1.326472731307149e-3,
        9.671512991189957e-3,
        5.550733581185341e-2,
        2.4022242426872253e-1,
        6.931470036506653e-1,
    ],
    np.float64: [math.log(2) ** k / math.factorial(k) for k in range(13, 0, -1)],
}
LOG1P = [  # log(1 + e) = e·(1 + …) for 0 ≤ e ≤ 1, highest first; relative error 5e-9
    *(
        -3.244009567424655e-3,
        1.985139027237892e-2,
        -5.6959398090839386e-2,
        1.0603640973567963e-1,
        -1.530558466911316e-1,
    ),
    *(1.9675935804843903e-1, -2.4954132735729218e-1, 3.332996368408203e-1, -4.999990165233612e-1, 1.0),
]


def constants(dtype: Any) -> np.ndarray:
    """Return the constants of the functions below, as an argument of the kernel.

    Constants in the code would be loaded again in every step.
    """
    small = dtype == np.float32
    bounds = [-126.0, 126.0, 1.5 * 2.0**23] if small else [-1022.0, 1022.0, 1.5 * 2.0**52]
    return np.array([*bounds, *EXP2[dtype], 1.0, *(LOG1P if small else [])], dtype)


@register_jitable
def _horner(x, table, first, count):  # type: ignore[no-untyped-def]
    y = broadcast(table, first)
    for k in range(first + 1, first + count):
        y = fma(y, x, broadcast(table, k))
    return y


def in_registers(table: Any) -> Any:
    """Return the constants of :func:`exp2` as vectors if they fit into registers (float32), else the table itself."""
    raise NotImplementedError


@overload(in_registers, inline="always", strict=False)
def _in_registers(table: Any) -> Any:
    if table.dtype == types.float64:
        return lambda table: table

    def small(table):  # type: ignore[no-untyped-def]
        low, high, magic = broadcast(table, 0), broadcast(table, 1), broadcast(table, 2)
        c5, c4, c3 = broadcast(table, 3), broadcast(table, 4), broadcast(table, 5)
        return low, high, magic, c5, c4, c3, broadcast(table, 6), broadcast(table, 7), broadcast(table, 8)

    return small


def exp2(x: Any, registers: Any) -> Any:
    """Return 2ˣ for x up to about 127 (float64: 1023), with a relative error of 2e-7 (float64: 4e-16).

    ``registers``: from :func:`in_registers`.
    """
    raise NotImplementedError


@overload(exp2, inline="always", strict=False)
def _exp2(x: Any, registers: Any) -> Any:
    if x.element == types.float64:

        def double(x, registers):  # type: ignore[no-untyped-def]
            x = minimum(maximum(x, broadcast(registers, 0)), broadcast(registers, 1))
            shifted = x + broadcast(registers, 2)
            return _add_exponent(_horner(x - (shifted - broadcast(registers, 2)), registers, 3, 14), shifted)

        return double
    if HAS_SCALEF:

        def scaled(x, registers):  # type: ignore[no-untyped-def]
            _low, _high, _magic, c5, c4, c3, c2, c1, c0 = registers
            n = _round(x)
            f = x - n
            return _scalef(fma(fma(fma(fma(fma(c5, f, c4), f, c3), f, c2), f, c1), f, c0), n)

        return scaled

    def single(x, registers):  # type: ignore[no-untyped-def]
        low, high, magic, c5, c4, c3, c2, c1, c0 = registers
        x = minimum(maximum(x, low), high)
        shifted = x + magic
        f = x - (shifted - magic)
        return _add_exponent(fma(fma(fma(fma(fma(c5, f, c4), f, c3), f, c2), f, c1), f, c0), shifted)

    return single


def log1p(e: Any, table: Any) -> Any:
    """Return log(1 + e) for 0 ≤ e ≤ 1; ``table``: from :func:`constants`."""
    raise NotImplementedError


@overload(log1p, inline="always", strict=False)
def _log1p(e: Any, table: Any) -> Any:
    if e.element == types.float32:
        return lambda e, table: e * _horner(e, table, 9, 10)

    def double(e, table):  # type: ignore[no-untyped-def]
        one = broadcast(table, 16)
        rounded = one + e
        return _log(rounded) + divide(e - (rounded - one), rounded)

    return double
