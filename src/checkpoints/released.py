"""Read the authors' files: recognise the network, and give its tensors the names that they have in our networks.

A file is a state dict, bare or wrapped, whose keys may begin with ``module.`` and may include the entries of a FLOP
counter. All tensors that masks depend on must exist with the right shape; everything else in a file is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import mode
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from src.checkpoints.torch_file import is_ours, read_torch_file
from src.models.encoder import PyramidEncoder
from src.models.released.feder import FEDER
from src.models.released.network import ReleasedRUN
from src.utils.errors import Problems, UserError
from src.utils.revision import UNKNOWN

State = Mapping[str, Tensor]

WRAPPERS = ("state_dict", "model", "net", "model_state_dict")
"""Keys under which a training script may have put the state dict."""
FLOP_COUNTERS = ("total_ops", "total_params")
BATCH_COUNTER = "num_batches_tracked"
RELEASED = "released"
"""Key of the variant's name in the configuration of an authors' file."""
IMAGE_SIZE, BATCH_SIZE = 384, 4
"""Pixels per side, as in the authors' test script; images per batch, few enough for a laptop's memory."""

PARTS = {
    "coarse": "GPM.",
    "intra": "IAF.",
    "cross": "CAF.",
    "merge": "conv3_fea.",
    "low": "GCM3.AGFG_LL.",
    "high": "GCM3.AGFG_HH.",
    "low_down": "LL_down.",
    "low_merge": "one_conv_f4_ll.",
    "high_merge": "one_conv_f1_hh.",
}
LEVELS = {"texture": "GCM3.T", "refine": "REM11.REU_f"}
"""Our module → its prefix in the files; in `LEVELS` the level's number follows, 1 (finest) to 4."""
PVT_NAMES: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"^patch_embed\.": "patch_embed1.",
    r"^stages_(\d)\.downsample": lambda found: f"patch_embed{int(found[1]) + 1}",
    r"^stages_(\d)\.blocks": lambda found: f"block{int(found[1]) + 1}",
    r"^stages_(\d)\.norm": lambda found: f"norm{int(found[1]) + 1}",
    r"\.mlp\.dwconv\.": ".mlp.dwconv.dwconv.",
}
"""timm's names of a PVTv2 → those of the original code; the inverse of timm's own ``checkpoint_filter_fn``."""


class ReleasedVariant(NamedTuple):
    """A released network: its name, its timm encoder, the encoder's prefix in the file, and our configuration."""

    name: str
    encoder: str
    prefix: str
    model: Literal["released", "feder"] = "released"


VARIANTS = (
    ReleasedVariant("RUN/ResNet50", "resnet50", "shared_encoder"),
    ReleasedVariant("RUN/PVTv2", "pvt_v2_b4", "encoder"),
    ReleasedVariant("RUN/Res2Net50", "res2net50d", "resnet"),
)
FEDER_VARIANT = ReleasedVariant("FEDER", "resnet50", "shared_encoder", "feder")


def load_released(path: str | Path) -> ReleasedRUN:
    """Return the network of an authors' RUN checkpoint, in float32 on the CPU and in evaluation mode.

    Its weights are memory-mapped: held in memory once, and the file must not change while the network is in use.

    Args:
        path: the file as downloaded, e.g. ``Net_epoch_best.pth``.

    Raises:
        UserError: the file is unreadable, belongs to another network (the message says which), or has tensors that are
            missing or of another shape (all are named).
    """
    net, variant = released_network(read_torch_file(Path(path)), Path(path))
    if not isinstance(net, ReleasedRUN):
        raise UserError(f"ckpt_path: {path} is a checkpoint of {variant.name}, not of RUN; load_feder reads it")
    return net.eval()


def load_feder(path: str | Path) -> FEDER:
    """Return the network of an authors' FEDER checkpoint, as :func:`load_released` does that of RUN."""
    net, variant = released_network(read_torch_file(Path(path)), Path(path))
    if not isinstance(net, FEDER):
        raise UserError(f"ckpt_path: {path} is a checkpoint of {variant.name}, not of FEDER; load_released reads it")
    return net.eval()


def released_network(content: Any, path: Path) -> tuple[ReleasedRUN | FEDER, ReleasedVariant]:
    """Return the network of a file's content with the file's tensors as its weights, and which released network it is.

    Args:
        content: what :func:`read_torch_file` returned.
        path: where it came from, for messages.

    Raises:
        UserError: as :func:`load_released`.
    """
    if is_ours(content):
        raise UserError(f"ckpt_path: {path} was written by src.train, not by the authors of RUN")
    state = bare_state(content)
    variant = recognised(state, path)
    with torch.device("meta"):  # no memory or random numbers for weights that are replaced
        encoder = PyramidEncoder(variant.encoder, None)
        net = (
            FEDER(encoder, _width(state, 96)) if variant.model == "feder" else ReleasedRUN(encoder, _width(state, 192))
        )
    net.load_state_dict(_own_state(net, state, variant, path), assign=True)
    return net, variant


def released_checkpoint(content: Any, path: Path) -> dict[str, Any]:
    """Return an authors' file in the form of our checkpoints: ``state_dict``, ``config`` and ``note``.

    The file itself has no configuration. It is given that of ``model=released data=cod`` (or ``model=feder``) with the
    file's encoder and width, at 384 × 384 pixels.

    Arguments and errors are those of :func:`released_network`.
    """
    net, variant = released_network(content, path)
    config = _configuration(variant, net.channels) | {RELEASED: variant.name}
    weights = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    return {
        "state_dict": weights,
        "config": config,
        "note": f"weights by the authors of {variant.name}, under their terms",
    }


def bare_state(content: Any) -> dict[str, Tensor]:
    """Return the state dict in a file's content, unwrapped; empty if there is none.

    ``module.`` prefixes and the entries of FLOP counters are removed.
    """
    while isinstance(content, Mapping) and (
        inner := [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
    ):
        content = content[inner[0]]
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): value for name, value in items if isinstance(value, Tensor)}
    bare = {re.sub(r"^(module\.)+", "", name): value for name, value in tensors.items()}
    return {name: value for name, value in bare.items() if not name.endswith(FLOP_COUNTERS)}


def recognised(state: State, path: Path) -> ReleasedVariant:
    """Return which released network a bare state dict belongs to.

    Raises:
        UserError: it is none of them; the message distinguishes a file without a state dict, a plain backbone, a RUN
            with an unknown encoder, and anything else.
    """
    parts = {name.partition(".")[0] for name in state}
    shown = ", ".join(sorted(parts)[:6])
    if not parts:
        raise UserError(
            f"ckpt_path: {path} holds no state dict; "
            "take the file as the authors published it, or one that src.train wrote"
        )
    if parts & {"IAF", "CAF", "conv3_fea"}:
        found = next((variant for variant in VARIANTS if variant.prefix in parts), None)
        if found is None:
            raise UserError(f"ckpt_path: {path} is a released RUN with an encoder unknown here; its parts: {shown}")
        return found
    if parts & {"one_conv_f4_ll", "one_conv_f1_hh", "LL_down"}:
        return FEDER_VARIANT
    if {"conv1", "layer1"} <= parts or parts & {"patch_embed", "patch_embed1", "features", "conv_stem"}:
        raise UserError(
            f"ckpt_path: {path} is a plain image backbone without a decoder; train on it with encoder.weights={path}"
        )
    raise UserError(
        f"ckpt_path: {path} holds a state dict of a network unknown here ({len(state)} tensors; parts: {shown})"
    )


def name_in_file(name: str, variant: ReleasedVariant) -> str:
    """Return what the authors' file calls a tensor of our network, without ``module.``.

    >>> name_in_file("refine.0.ode.F1.0.weight", VARIANTS[0])
    'REM11.REU_f1.ode.F1.0.weight'
    >>> name_in_file("encoder.backbone.stages_1.blocks.0.mlp.dwconv.bias", VARIANTS[1])
    'encoder.block2.0.mlp.dwconv.dwconv.bias'
    """
    part, _, rest = name.partition(".")
    if part in PARTS:
        return PARTS[part] + rest
    if part in LEVELS:
        level, _, rest = rest.partition(".")
        return f"{LEVELS[part]}{int(level) + 1}.{rest}"
    rest = rest.removeprefix("backbone.")
    for pattern, replacement in PVT_NAMES.items() if variant.name == "RUN/PVTv2" else ():
        rest = re.sub(pattern, replacement, rest)
    return f"{variant.prefix}.{rest}"


def _configuration(variant: ReleasedVariant, width: int) -> dict[str, Any]:
    """Return the configuration of `src.train` with ``data=cod``, reduced to the parts that weights files keep."""
    from hydra import compose, initialize_config_dir  # imported here: our own files need no Hydra
    from omegaconf import OmegaConf

    from src.cli.type_check import CONF

    settings = [f"encoder={variant.encoder}", "encoder.weights=null", f"model.net.channels={width}"]
    settings += [f"data.image_size={IMAGE_SIZE}", f"data.batch_size={BATCH_SIZE}"]
    with _apart_from_the_command(), initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("train", [f"model={variant.model}", "data=cod", *settings])
    config = {key: OmegaConf.to_container(composed[key], resolve=True) for key in ("encoder", "model", "data")}
    return config | {"seed": composed.seed, "commit": UNKNOWN}


@contextmanager
def _apart_from_the_command() -> Iterator[None]:
    """Context manager: let a second configuration be composed while Hydra runs a command."""
    from hydra.core.global_hydra import GlobalHydra

    shared = GlobalHydra.instance()
    running, shared.hydra = shared.hydra, None
    try:
        yield
    finally:
        shared.hydra = running


def _width(state: State, usual: int) -> int:
    """Return C, by majority of the tensors with C values: a single one may be broken or missing."""
    names = (
        "conv3_fea.bias",
        "IAF.conv1.bias",
        "CAF.conv3.bias",
        "one_conv_f4_ll.bias",
        *(f"REM11.REU_f{i}.conv.bias" for i in (1, 2, 3, 4)),
    )
    return mode([state[name].numel() for name in names if name in state] or [usual])


def _own_state(net: nn.Module, state: State, variant: ReleasedVariant, path: Path) -> dict[str, Tensor]:
    """Return the file's tensors under our network's names and dtypes; missing batch counters are zero."""
    own, problems = {}, Problems()
    for name, expected in net.state_dict().items():
        there = name_in_file(name, variant)
        given = state.get(there)
        if given is None and name.endswith(BATCH_COUNTER):
            given = torch.zeros((), dtype=torch.int64)
        if given is None:
            problems.append(f"{there} is missing")
        elif given.shape != expected.shape:
            problems.append(f"{there} has shape {tuple(given.shape)}, expected {tuple(expected.shape)}")
        else:
            own[name] = given.to(expected.dtype)
    problems.raise_all(f"ckpt_path: {path} is a checkpoint of {variant.name}, but {len(problems)} tensors do not fit:")
    return own
