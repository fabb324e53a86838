"""From a checkpoint to an ONNX file that was compared with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from src.checkpoints.atomic_io import writable
from src.checkpoints.network import make_network
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.weights_file import kept_config, licence_note
from src.inference.export.pictures import with_pictures, with_probabilities
from src.inference.export.settings import ExportSettings
from src.inference.export.storage import in_half_where_exact, tidied, with_metadata
from src.inference.export.trace import cell_of, traced_graph
from src.inference.export.verify import (
    Comparison,
    compare_pictures,
    compare_tensors,
    picture_problems,
    picture_sizes,
    shapes_to_compare,
    tensor_problems,
)
from src.inference.network import Options
from src.inference.torch_network import TorchNetwork
from src.models.wrappers import network_name
from src.ops.scan.onnx import with_own_constants
from src.utils.errors import UserError
from src.utils.whole_file import write_whole

REJECTED = ".rejected"
"""Added to the name of a file whose output differs from its network's."""


def export_network(settings: ExportSettings, report: Callable[[str], None] = print) -> list[Comparison]:
    """Write an ONNX file of a network, run it in onnxruntime on several inputs, and compare it with torch.

    Args:
        settings: what is exported and how.
        report: is given a line for each comparison as soon as it is made.

    Returns:
        The comparisons.

    Raises:
        UserError: a checkpoint that cannot be read or exported, a folder that cannot be written, or a file that differs
            from its network, which is then kept under the name ``OUT.rejected``.
    """
    network = _network(settings)
    prompts = _with_prompts(network.net, settings.prompts)
    side = network.image_size if settings.pre_post else settings.size
    batch = 1 if settings.pre_post else None
    graph = with_own_constants(tidied(traced_graph(network.net, side, batch, settings.stages, prompts)))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "tensors.onnx"
        _save(with_probabilities(graph), plain, network, pre_post=False)
        in_any = shapes_to_compare(side, network.image_size, cell_of(network.net))
        shapes = [(1, side, side)] if settings.pre_post and side else in_any
        done = _reported(compare_tensors(plain, network, shapes, prompts), report)
        problems = tensor_problems(done)
        if not settings.pre_post:
            _keep(plain, settings.out, problems)
            return done
        reads_pictures = Path(folder) / "pictures.onnx"
        _save(with_pictures(graph, network.image_size), reads_pictures, network, pre_post=True)
        masks = _reported(compare_pictures(reads_pictures, network, picture_sizes(network.image_size)), report)
        _keep(reads_pictures, settings.out, problems + picture_problems(masks))
    return done + masks


def _network(settings: ExportSettings) -> TorchNetwork:
    """Return the network to export, in float32 on the CPU."""
    checkpoint = read_checkpoint(settings.source)
    config = kept_config(checkpoint["config"])
    if reason := _reason_against(config["model"]["net"], settings):
        raise UserError(f"{settings.source} cannot be exported to ONNX: {reason}")
    net = make_network(checkpoint, settings.source).requires_grad_(False)
    if settings.half:
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    note = checkpoint.get("note") or licence_note(config)
    return TorchNetwork(net, config, note, Options(device="cpu", image_size=settings.size))


def _reason_against(net: Mapping[str, Any], settings: ExportSettings) -> str | None:
    """Return why a network of this configuration is refused before any work; None if nothing is known against it."""
    if net["_target_"].endswith(".FEDER"):
        return (
            "the guided filters of FEDER pool and resize in double precision, which onnxruntime has no operators for; "
            "src.predict takes the file as it is"
        )
    if "swin" in net["encoder"]["name"] and not settings.pre_post and settings.size is None:
        return (
            f"the windows of {net['encoder']['name']} are padded differently for each size, which takes the tracer too "
            "long; give one size, size=N, or leave out pre_post=false"
        )
    return None


def _with_prompts(net: nn.Module, wanted: bool | None) -> bool:
    """Return whether the file has the inputs of a prompt."""
    takes = bool(getattr(net, "takes_prompts", False))
    if wanted and not takes:
        raise UserError(f"prompts=true: {network_name(net)} takes no prompts; leave it out")
    return takes if wanted is None else wanted


def _save(graph: onnx.ModelProto, path: Path, network: TorchNetwork, pre_post: bool) -> None:
    stored = in_half_where_exact(graph)
    onnx.save(with_metadata(stored, network.config, network.note, network.image_size, pre_post), path)


def _reported(comparisons: Iterable[Comparison], report: Callable[[str], None]) -> list[Comparison]:
    done = []
    for one in comparisons:
        report(one.line)
        done.append(one)
    return done


def _keep(written: Path, out: Path, problems: list[str]) -> None:
    """Move a file to its place, or beside it if it differs from its network."""
    place = out.with_name(out.name + REJECTED) if problems else out
    with writable(out.parent):
        write_whole(place, written.read_bytes())
    if problems:
        raise UserError(f"the exported file differs from its network; it is kept as {place}:", problems)
