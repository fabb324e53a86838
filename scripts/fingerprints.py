"""Record what every network computes, and compare it with another version of the code, bit for bit.

    python -m scripts.fingerprints {record,compare} FOLDER [CHOICE …]

`record` builds the network and the loss of every experiment, model, loss, encoder and ablation in `conf/`. It stores
the seeded initialisation, the state after three training steps (γ and U are then no longer zero), and what that state
computes for one fixed batch: evaluation outputs, loss terms and gradients, with the SHA-256 of each in a manifest.

`compare` computes the same with the current code, once from the current configuration and once from the stored one.
Stored states and configurations are first translated by `src.checkpoints.upgrade`, if that module exists. It prints one
line per choice; the exit status is 1 if anything but an initialisation differs. The bits depend on the processor and on
the versions of the libraries, so record and compare on the same machine.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from src.cli.script import ScriptParser
from src.utils.errors import UserError

CONF = Path(__file__).parents[1] / "conf"
GROUPS = ("experiment", "model", "loss", "encoder", "ablation")
BASE = "experiment=camo_lite0"
"""The experiment that models, losses, encoders and ablations are combined with: the smallest one."""
FIXED = ("encoder.weights=null", "data.image_size=64", "paths.output_dir=out")
RENAMED = {
    "experiment=camo_core": "experiment=camo_lite0",
    "loss=stagewise": "loss=measured",
    "loss=paper": "loss=published",
    "ablation=finest_twice": "ablation=levels_stride4_twice",
}
"""Old choice → new choice, which is used if `conf/` has it."""
SIZE, SEED, THREADS, STEPS = 64, 0, 2, 3
PROGRESS = 0.75
"""Progress of the training, as passed to the loss: here the uncertainty term has part of its final weight."""
MANIFEST = "manifest.json"
PARTS = ("initialisation", "outputs", "loss", "gradients")

STORED = " (stored configuration)"
Tensors = dict[str, Tensor]
Verdict = dict[str, str]
"""Each of `PARTS` → ``same``, or ``other`` and by how much; ``error`` alone if the network does not work."""


def choices() -> list[str]:
    """Return ``GROUP=NAME`` for every network and loss in `conf/`, without ``base``, which is a part of the others."""
    return [f"{g}={path.stem}" for g in GROUPS for path in sorted((CONF / g).glob("*.yaml")) if path.stem != "base"]


def composed(choice: str) -> dict[str, Any]:
    """Return the resolved training configuration of a choice, or of the choice that replaced it."""
    group, name = RENAMED.get(choice, choice).split("=")
    today = f"{group}={name}" if (CONF / group / f"{name}.yaml").is_file() else choice
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [today, *FIXED] if group == "experiment" else [BASE, today, *FIXED])
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def record(folder: Path, chosen: Sequence[str]) -> None:
    """Write the manifest, and the tensors of every distinct pair of network and loss, into ``folder``."""
    files: dict[str, dict[str, Any]] = {}
    entries: dict[str, dict[str, Any]] = {}
    folder.mkdir(parents=True)
    for choice in chosen:
        config = composed(choice)
        key = hashlib.sha256(_what_computes(config).encode()).hexdigest()[:16]
        if key not in files:
            tensors = _trained_and_computed(config)
            torch.save(tensors, folder / f"{key}.pt")
            files[key] = {part: _summary(values) for part, values in tensors.items()}
        entries[choice] = {"file": f"{key}.pt", **files[key], "config": config}
        print(f"{choice}: {key}.pt", flush=True)
    manifest = {"environment": _environment(), "choices": entries}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def compare(folder: Path, chosen: Sequence[str] = ()) -> list[str]:
    """Print what has stayed the same and what differs, for every recorded choice or only for ``chosen`` ones.

    Returns:
        The choices in which more than the initialisation differs.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest["environment"] != _environment():
        print(f"recorded with {manifest['environment']}, here {_environment()}: bits may differ for this reason alone")
    known: dict[str, Verdict] = {}
    differing = []
    for choice in chosen or manifest["choices"]:
        stored = manifest["choices"][choice]
        for source, verdict in _verdicts(choice, folder / stored["file"], stored["config"], known).items():
            print(f"{choice}{source}: {', '.join(f'{part} {said}' for part, said in verdict.items())}", flush=True)
            if any(verdict.get(part) != "same" for part in PARTS[1:]):
                differing.append(f"{choice}{source}")
    return differing


def computed(module: Any, state: Tensors) -> dict[str, Tensors]:
    """Load ``state`` and compute the results for the fixed batch.

    Returns:
        ``outputs`` in evaluation mode by field, ``loss`` by term, and ``gradients`` by parameter (zero if it has none).
    """
    module.load_state_dict(state)
    with torch.no_grad():
        outputs = dict(_named_tensors(module.eval()(_batch()[0])))
    terms = _backward(module)
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in module.named_parameters()}
    return {"outputs": outputs, "loss": terms, "gradients": gradients}


def difference(expected: Tensors, found: Tensors) -> str:
    """Return ``same`` if ``found`` has all tensors of ``expected`` with the same bits, else ``other`` and by how much.

    >>> difference({"a": torch.ones(2)}, {"a": torch.tensor([1.0, 1.5]), "b": torch.ones(1)})
    'other in 1 of 1 (a by 5.0e-01, its largest value is 1.0e+00)'
    """
    unlike = [n for n, tensor in expected.items() if n not in found or tensor.shape != found[n].shape]
    if unlike:
        return f"other: {len(unlike)} of {len(expected)} are missing or of another shape ({unlike[0]})"
    changed = [n for n, tensor in expected.items() if digest({n: tensor}) != digest({n: found[n]})]
    if not changed:
        return "same"
    distances = {n: _largest({n: expected[n].double() - found[n].double()}) for n in changed}
    worst = max(changed, key=distances.__getitem__)
    size = _largest({worst: expected[worst]})
    by = f"{worst} by {distances[worst]:.1e}, its largest value is {size:.1e}"
    return f"other in {len(changed)} of {len(expected)} ({by})"


def digest(tensors: Tensors, names: bool = True) -> str:
    """Return the SHA-256 of all dtypes, shapes and bytes, sorted by name and with the names, or in the given order.

    >>> zeros, ones = torch.zeros(2), torch.ones(2)
    >>> digest({"a": zeros, "b": ones}) == digest({"b": ones, "a": zeros})
    True
    >>> digest({"a": ones}) == digest({"b": ones}), digest({"a": ones}, names=False) == digest({"b": ones}, names=False)
    (False, True)
    """
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()) if names else tensors.items():
        total.update(f"{name if names else ''} {tensor.dtype} {tuple(tensor.shape)};".encode())
        total.update(tensor.detach().contiguous().numpy().tobytes())
    return total.hexdigest()


def _trained_and_computed(config: dict[str, Any]) -> dict[str, Tensors]:
    module = _built(config)
    initial = _state(module)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    for _ in range(STEPS):
        _backward(module)
        optimizer.step()
    state = _state(module)
    return {"initialisation": initial, "state": state, **computed(module, state)}


def _verdicts(choice: str, path: Path, stored: dict[str, Any], known: dict[str, Verdict]) -> dict[str, Verdict]:
    """Return the verdict for the current configuration, and for the stored one if it differs; ``known`` caches them."""
    verdicts: dict[str, Verdict] = {}
    for source, configuration in (("", lambda: composed(choice)), (STORED, lambda: _upgraded("config", stored))):
        try:
            config = configuration()
            key = f"{path.name} {_what_computes(config)}"
            if key not in known:
                known[key] = _verdict(path, stored, config)
            verdicts[source] = known[key]
        except Exception as error:  # a network that cannot be built must not prevent the comparison of the others
            verdicts[source] = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return verdicts if verdicts[""] != verdicts[STORED] else {"": verdicts[""]}


def _verdict(path: Path, stored_config: dict[str, Any], config: dict[str, Any]) -> Verdict:
    """Compare the network of ``config`` with the tensors in ``path``, recorded from that of ``stored_config``."""
    stored: dict[str, Tensors] = torch.load(path, weights_only=True)
    state, start = (_upgraded("state", stored[part], stored_config) for part in ("state", "initialisation"))
    # Gradients have the names of their parameters.
    gradients = _upgraded("state", {**stored["state"], **stored["gradients"]}, stored_config)
    module = _built(config)
    found = {"initialisation": _state(module), **computed(module, state)}
    expected = {**stored, "initialisation": start, "gradients": {n: gradients[n] for n in found["gradients"]}}
    return {part: difference(expected[part], found[part]) for part in PARTS}


def _upgraded(what: str, *values: Any) -> Any:
    """Call ``upgrade_config(config)`` or ``upgrade_state(state, config)``; without them return the stored value."""
    upgrade = getattr(_upgrade(), f"upgrade_{what}", None)
    return upgrade(*copy.deepcopy(values)) if upgrade else values[0]


def _upgrade() -> Any:
    """Return the module that translates old files, or None if this version of the code does not have it yet."""
    name = "src.checkpoints.upgrade"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def _built(config: dict[str, Any]) -> Any:
    torch.manual_seed(SEED)
    return instantiate(OmegaConf.create(config["model"]))


def _batch() -> tuple[Tensor, Tensor]:
    """Return two images (2,3,64,64) of noise on a ramp, and their masks (2,1,64,64): a box and a disc."""
    noise = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(SEED))
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    box = (rows > 15) & (rows < 40) & (columns > 19) & (columns < 50)
    disc = (rows - 30) ** 2 + (columns - 36) ** 2 < 200
    target = torch.stack([box, disc]).unsqueeze(1).float()
    return 0.5 * noise + 0.3 * target + 0.2 * rows / SIZE, target


def _backward(module: Any) -> Tensors:
    """Return the loss terms of the fixed batch in training mode, and leave the gradients in the parameters."""
    image, target = _batch()
    module.train().zero_grad()
    torch.manual_seed(SEED)  # for stochastic depth
    terms = module.loss(module(image), image, target, PROGRESS)
    terms["loss"].backward()
    return {name: term.detach() for name, term in terms.items()}


def _state(module: Any) -> Tensors:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def _named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor in nested named tuples and tuples with its name, e.g. ``stages.0.mask_logits``."""
    if isinstance(value, Tensor):
        yield name, value
    elif value is not None:
        fields: Mapping[Any, Any] = value._asdict() if hasattr(value, "_asdict") else dict(enumerate(value))
        for key, field in fields.items():
            yield from _named_tensors(field, f"{name}.{key}" if name else str(key))


def _what_computes(config: dict[str, Any]) -> str:
    """Return network and loss as text; optimiser, schedule and measures do not affect the recorded numbers."""
    return json.dumps({part: config["model"][part] for part in ("_target_", "net", "loss")}, sort_keys=True)


def _summary(tensors: Tensors) -> dict[str, Any]:
    return {"by_name": digest(tensors), "in_order": digest(tensors, names=False), "largest": _largest(tensors)}


def _largest(tensors: Tensors) -> float:
    return max((float(tensor.abs().max()) for tensor in tensors.values()), default=0.0)


def _environment() -> dict[str, str]:
    versions = {name: metadata.version(name) for name in ("torch", "timm", "numba", "numpy")}
    return {"processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}", **versions}


def main() -> None:
    """Run the command line of :func:`record` and :func:`compare`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("verb", choices=["record", "compare"])
    parser.add_argument("folder", type=Path, help="folder of the recording; record creates it")
    parser.add_argument("choices", nargs="*", help="GROUP=NAME, e.g. ablation=no_phi (default: all)")
    parser.run(_record_or_compare)


def _record_or_compare(arguments: argparse.Namespace) -> int:
    folder, manifest = arguments.folder, arguments.folder / MANIFEST
    recording = arguments.verb == "record"
    if folder.exists() if recording else not manifest.is_file():
        raise UserError(f"{folder} {'exists; name a new folder' if recording else f'holds no {MANIFEST}'}")
    there = choices() if recording else json.loads(manifest.read_text(encoding="utf-8"))["choices"]
    if unknown := [choice for choice in arguments.choices if choice not in there]:
        raise UserError(f"no such choice: {', '.join(unknown)}; choose from {', '.join(there)}")
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    if recording:
        record(folder, arguments.choices or there)
        return 0
    differing = compare(folder, arguments.choices)
    print(f"differing: {', '.join(differing) or 'none'}")
    return 1 if differing else 0


if __name__ == "__main__":
    main()
