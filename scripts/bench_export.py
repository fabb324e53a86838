"""Time exported networks against PyTorch, one thread each, in turns within one run.

    python -m scripts.bench_export --weights FILE [--sizes 224 352] [--rounds 7] [--before] [--cold]

For each size the script prints median CPU milliseconds: of the network in PyTorch and of its export in onnxruntime, on
the same float tensor; and of segmenting a picture of 640 × 480 with the checkpoint in `Predictor` and with an exported
file that resizes. `--before` adds PyTorch's own export, with the scan as tensor operations (`parallel`); it was the
only way before `src.export`. `--cold` times whole processes from start to mask: six lines of Python with onnxruntime,
and `src.predict` with the checkpoint.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import onnxruntime
import torch
from PIL import Image
from torch import nn

from src.checkpoints.network import load_network
from src.cli.script import ScriptParser
from src.inference.export.job import export_network
from src.inference.export.settings import ExportSettings
from src.inference.export.trace import OPSET, Traced
from src.inference.export.verify import made_up_picture
from src.inference.predictor import Predictor

SIX_LINES = """
import numpy as np, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession("{model}")
picture = np.asarray(Image.open("{picture}").convert("RGB"))
(mask,) = session.run(["mask"], {{"picture": picture}})
Image.fromarray(mask).save("{mask}")
"""


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median CPU milliseconds of each call; calls take turns, after one warm-up round."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if round_:
                spent[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(times) for name, times in spent.items()}


def tensors(net: nn.Module, files: Mapping[str, Path], size: int, rounds: int) -> dict[str, float]:
    """Time the same float tensor, 1 × 3 × size × size, in PyTorch and in each file."""
    image = torch.rand(1, 3, size, size).contiguous(memory_format=torch.channels_last)
    content = image.contiguous().numpy()
    calls: dict[str, Callable[[], object]] = {"torch": torch.inference_mode()(lambda: net(image).mask_logits)}
    for name, path in files.items():
        session = one_thread(path)
        calls[name] = lambda session=session: session.run(None, {"image": content})  # type: ignore[misc]
    return interleaved(calls, rounds)


def pictures(weights: Path, file: Path, size: int, rounds: int) -> dict[str, float]:
    """Time segmenting a picture of 640 × 480 with the checkpoint in `Predictor` and with the exported file."""
    picture = made_up_picture(480, 640, seed=0)
    predictor, session = Predictor(weights, device="cpu", image_size=size), one_thread(file)
    return interleaved(
        {"torch": lambda: predictor(picture).mask8, "file": lambda: session.run(["mask"], {"picture": picture})}, rounds
    )


def one_thread(path: Path) -> onnxruntime.InferenceSession:
    """Open an exported file for use with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def export_before(net: nn.Module, path: Path, size: int) -> None:
    """Export for one size with PyTorch alone, the scan as tensor operations."""
    image = torch.rand(1, 3, size, size)
    with torch.no_grad():
        program = torch.onnx.export(
            Traced(net, stages=False), (image,), dynamo=True, verbose=False, opset_version=OPSET, input_names=["image"]
        )
    assert program is not None
    program.save(path)


def cold(weights: Path, file: Path, folder: Path) -> dict[str, float]:
    """Return the seconds of whole processes that segment one picture: the faster of two runs each."""
    picture = folder / "picture.png"
    Image.fromarray(made_up_picture(480, 640, seed=0)).save(picture)
    six_lines = SIX_LINES.format(model=file, picture=picture, mask=folder / "mask.png")
    places = [f"ckpt_path={weights}", f"input={picture}", f"output={folder / 'maps'}", "overwrite=true"]
    commands = {"six lines": ["-I", "-c", six_lines], "src.predict": ["-m", "src.predict", *places]}
    spent: dict[str, list[float]] = {name: [] for name in commands}
    for name, words in [*commands.items()] * 2:
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        spent[name].append(time.perf_counter() - start)
    return {name: min(times) for name, times in spent.items()}


def bench(arguments: argparse.Namespace) -> None:
    """Export, time, and print one line per comparison."""
    torch.set_num_threads(1)
    net, _ = load_network(arguments.weights)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_network(ExportSettings(arguments.weights, folder / "open.onnx", pre_post=False), lambda line: None)
        for size in arguments.sizes:
            files = {"onnxruntime": folder / "open.onnx"}
            if arguments.before:
                files["parallel"] = folder / f"before_{size}.onnx"
                export_before(net, files["parallel"], size)
            report(f"tensor {size}", tensors(net, files, size, arguments.rounds))
            reads = folder / f"pictures_{size}.onnx"
            export_network(ExportSettings(arguments.weights, reads, size), lambda line: None)
            report(f"picture at {size}", pictures(arguments.weights, reads, size, arguments.rounds))
            exported, stored = (path.stat().st_size for path in (reads, arguments.weights))
            print(f"file: {exported / 1e6:.2f} MB, {exported / stored:.2f} × the weights")
        if arguments.cold:
            report("cold start (seconds)", cold(arguments.weights, reads, folder))


def report(what: str, times: Mapping[str, float]) -> None:
    """Print times and their ratio to the first."""
    first = next(iter(times.values()))
    print(
        f"{what}: " + ", ".join(f"{name} {spent:.1f} ({spent / first:.2f} ×)" for name, spent in times.items()),
        flush=True,
    )


def main() -> None:
    """Run the command line of :func:`bench`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="a checkpoint or exported weights")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 352], help="pixels")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--before", action="store_true", help="also time PyTorch's own export, which takes minutes")
    parser.add_argument("--cold", action="store_true", help="also time whole processes")
    parser.run(bench)


if __name__ == "__main__":
    main()
