"""A network as an ONNX graph: float pictures and prompts in, logits out, and on request the maps of RUN's stages."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import onnx
import torch
from onnx.compose import add_prefix, merge_models
from onnx.parser import parse_model
from timm.layers import padding
from torch import Tensor, nn

from src.inference.onnx_network import PROMPT
from src.models.outputs import MaskOutput, RUNOutput
from src.models.prompts import Prompt
from src.models.wrappers import network_name
from src.ops.scan.onnx import OPSET, scans_as_nodes, with_scan_bodies
from src.utils.errors import UserError

IMAGE, LOGITS = "image", "logits"
NET = "net_"
"""Prefix of the stages' maps as the network returns them; :mod:`src.inference.export.pictures` removes it."""
CELLS, CELL = "_cells", 32
"""Suffix of the names and side of the cells that a graph for any size reads; see :func:`cell_of`.

It is traced on pictures cut into cells, (N,3,rows,32,columns,32), so that the size of each feature is a multiple of
rows or columns. As a function of the picture's own size it would be a floor of floors, which the tracer compares for
minutes.
"""
LARGEST = 64
"""Most cells per side (2048 pixels): a bound that the tracer needs; the exported file does not check it."""
BATCH, ROWS, COLUMNS = 2, 4, 5
"""What is traced if all sizes stay open: all differ, so that the tracer does not take one for another."""


class Traced(nn.Module):
    """A network that reads and returns tensors alone.

    Args:
        net: in evaluation mode.
        stages: whether the maps of the stages are outputs too.
    """

    def __init__(self, net: nn.Module, stages: bool) -> None:
        super().__init__()
        self.net, self.stages = net, stages
        self.eval()

    def forward(self, image: Tensor, *prompt: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (N,1,H,W), then :func:`stage_maps`.

        Args:
            image: (N,3,H,W) in [0,1], or cut into cells.
            prompt: P, p and p of clicks alone, (N,1,H,W) in [0,1], cut likewise; nothing for a network that takes no
                prompts.
        """
        said = {"prompt": Prompt(*map(joined, prompt))} if prompt else {}
        output = self.net(joined(image), **said)
        return (output.mask_logits, *(stage_maps(output).values() if self.stages else ()))


def joined(image: Tensor) -> Tensor:
    """Return pictures cut into cells, (N,c,rows,h,columns,w), as (N,c,rows·h,columns·w); others as they are."""
    if image.dim() == 4:
        return image
    batch, channels, rows, height, columns, width = image.shape
    return image.reshape(batch, channels, rows * height, columns * width)


def stage_maps(output: RUNOutput | MaskOutput) -> dict[str, Tensor]:
    r"""Return the maps that the stages of a network computed, all in [0,1] at the unfolding resolution (h, w).

    ``mask_0`` … ``mask_K``: M_0 … M_K, (N,1,h,w). ``background_1`` …: B_k, (N,3,h,w). ``edge_1`` …: E_k, (N,1,h,w).
    ``residual_1`` …: the absolute value of r_{k−1}, (N,1,h,w). Maps that a network does not have are left out; a
    network without stages has none.
    """
    if isinstance(output, MaskOutput):
        return {}
    maps: dict[str, Tensor] = {f"mask_{k}": logits.sigmoid() for k, logits in enumerate(output.stage_logits)}
    for k, stage in enumerate(output.stages, 1):
        edge = None if stage.edge_logits is None else stage.edge_logits.sigmoid()
        residual = None if stage.residual is None else stage.residual.abs()
        parts = {"background": stage.background, "edge": edge, "residual": residual}
        maps |= {f"{name}_{k}": values for name, values in parts.items() if values is not None}
    return maps


def cell_of(net: nn.Module) -> int:
    """Return what the sides of a graph for any size are multiples of: only then is nothing padded or cropped.

    It is `CELL`, the coarsest stride, or the encoder's own multiple if it sees the image at several scales.
    """
    return int(getattr(getattr(net, "encoder", None), "multiple", CELL))


def traced_graph(
    net: nn.Module, side: int | None, batch: int | None = None, stages: bool | None = False, prompts: bool = False
) -> onnx.ModelProto:
    """Trace a network; this takes several times as long if sizes stay open.

    Args:
        net: in evaluation mode, in float32 on the CPU.
        side: H and W of its input; None: both stay open, for multiples of :func:`cell_of`.
        batch: N; None: it stays open.
        stages: add :func:`stage_maps` to the outputs.
        prompts: add `PROMPT` to the inputs, (N,1,H,W) float32 in [0,1] each.

    Returns:
        A graph from ``image`` (N,3,H,W) float32 to ``logits`` (N,1,H,W) and the maps of the stages, whose names begin
        with `NET`.

    Raises:
        UserError: the network has no stages to return, or computes what ONNX cannot express.
    """
    inputs = [IMAGE, *(PROMPT if prompts else ())]
    cell = cell_of(net)
    examples = _examples(len(inputs), side, batch, cell)
    with torch.no_grad():
        maps = {} if stages is False else stage_maps(net(joined(examples[0])))
    if stages and not maps:
        raise UserError(f"stages=true: {network_name(net)} has no stages; leave it out")
    open_sizes: dict[int, Any] = {} if batch else {0: torch.export.Dim("batch", min=1, max=1024)}
    if side is None:
        open_sizes |= {axis: torch.export.Dim(name, min=1, max=LARGEST) for axis, name in ((2, "rows"), (4, "columns"))}
    program = _program(Traced(net, bool(maps)), examples, open_sizes, network_name(net))
    names = [name + CELLS for name in inputs] if side is None else inputs, [LOGITS, *(NET + name for name in maps)]
    graph = with_scan_bodies(_converted(program, *names, network_name(net)))
    return _of_whole_pictures(graph, inputs, cell) if side is None else graph


def _examples(count: int, side: int | None, batch: int | None, cell: int) -> tuple[Tensor, ...]:
    """Return the tensors that are traced: an image, and with a ``count`` of 4 the maps of a prompt."""
    image = torch.rand((batch or BATCH, 3, *((ROWS, cell, COLUMNS, cell) if side is None else (side, side))))
    image = image if side is None else image.contiguous(memory_format=torch.channels_last)
    return (image, *(torch.rand_like(image[:, :1]) for _ in range(count - 1)))


def _program(
    net: nn.Module, examples: tuple[Tensor, ...], open_sizes: Mapping[int, Any], title: str
) -> torch.export.ExportedProgram:
    hint = "; size=N, for one size, may do" if open_sizes.keys() - {0} else ""
    image, *prompt = (dict(open_sizes) or None for _ in examples)
    shapes = (image, tuple(prompt)) if prompt else (image,)
    with torch.no_grad(), scans_as_nodes(), _explained(title, hint), _constant_padding() if hint else nullcontext():
        return torch.export.export(net, examples, dynamic_shapes=shapes, strict=False)


@contextmanager
def _constant_padding() -> Iterator[None]:
    """Pad timm's ``same`` convolutions and pools as for sides that are multiples of the stride, as all are here.

    Their own rule divides and rounds sizes, and the tracer compares what comes of it for minutes.
    """

    def constant(x: int, kernel_size: int, stride: int, dilation: int) -> int:
        return max(dilation * (kernel_size - 1) + 1 - stride, 0)

    rule, padding.get_same_padding = padding.get_same_padding, constant
    try:
        yield
    finally:
        padding.get_same_padding = rule


def _converted(
    program: torch.export.ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], title: str
) -> onnx.ModelProto:
    """Convert without PyTorch's optimiser, which would fold BatchNorm into the weights and so change them."""
    with _explained(title):
        converted = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            optimize=False,
            input_names=list(inputs),
            output_names=list(outputs),
        )
    assert converted is not None
    return onnx.ModelProto.FromString(converted.model_proto.SerializeToString())


def _of_whole_pictures(model: onnx.ModelProto, names: Sequence[str], side: int) -> onnx.ModelProto:
    """Prepend the step that cuts pictures into a graph's cells; the runtime refuses sides that they do not fill."""
    channels = [1 if name in PROMPT else 3 for name in names]
    inputs = [f"float[batch, {count}, height, width] {name}" for count, name in zip(channels, names, strict=True)]
    cells = [
        f"float[batch, {count}, rows, {side}, columns, {side}] {name}{CELLS}"
        for count, name in zip(channels, names, strict=True)
    ]
    cuts = "\n".join(f"{name}{CELLS} = Reshape ({name}, shape)" for name in names)
    cut = parse_model(f"""<ir_version: {model.ir_version}, opset_import: ["" : {OPSET}]>
        cut ({", ".join(inputs)}) => ({", ".join(cells)}) {{
        size = Shape <start = 2> ({IMAGE})
        cell = Constant <value_ints = [{side}]> ()
        counts = Div (size, cell)
        down, across = Split <num_outputs = 2> (counts)
        kept = Constant <value_ints = [0, 0]> ()
        shape = Concat <axis = 0> (kept, down, cell, across, cell)
        {cuts}
        }}""")
    joints = [(name + CELLS, name + CELLS) for name in names]
    return merge_models(add_prefix(cut, "cut_", rename_inputs=False, rename_outputs=False), model, io_map=joints)


@contextmanager
def _explained(title: str, hint: str = "") -> Iterator[None]:
    """Turn any error of PyTorch's exporter (its classes vary) into a one-line UserError, and drop its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            raise UserError(f"{title} cannot be exported to ONNX{hint}: {text}") from error
