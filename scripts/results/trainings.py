"""Which trainings make up the results in docs/results, phase by phase; :mod:`scripts.results.matrix` runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from scripts.results.archive import Variant, read_results
from scripts.results.networks import networks
from src.utils.errors import UserError

RIVALS = ("fpn_ds", "fpn", "fpn_wide", "unet")
RATES = ("5e-4", "1e-3", "2e-3")
RATE_EPOCHS = 4
PARTS = (
    *("residual", "mask_step", "background_evidence", "robe", "robe_image", "reconstruction", "background_loss"),
    *("phi", "state_space", "edge_head", "coarse_loss", "context", "mask_residual", "unfolding", "coupling"),
)
CHOICES = (
    "levels_coarse_to_fine",
    "levels_8",
    "levels_4",
    "levels_stride4_twice",
    "uncertain_band_one",
    "soft_thresholds",
    "lambda_large",
    "share_all",
    "share_none",
)
WITHOUT_UNFOLDING_TOO = ("levels_4",)
"""Choices that are also trained without unfolding, to see whether they help the unfolding or any network."""
STAGES = ("stages_1", "stages_2", "stages_6")
TWO_ROUNDS = (Variant(rounds=2),)
SCALED = (Variant(sharpness=1.5), Variant(sharpness=2))
WITHOUT_CLOSING = (Variant(closing_step="false"),)
SCALED_WITHOUT_CLOSING = tuple(one._replace(closing_step="false") for one in SCALED)
DONE = "done"
"""An empty file. In a run's folder: all epochs are trained; in a split's folder: the split is scored."""


@dataclass(frozen=True)
class Run:
    """One training: its name, its network's name in the tables, its overrides of `src.train`, its scored splits."""

    name: str
    model: str
    overrides: tuple[str, ...]
    splits: tuple[str, ...]
    seed: int = 0
    rate_of: str | None = None
    """The network whose best learning rate is used; None: `overrides` set the rate."""
    variants: tuple[Variant, ...] = ()
    """Further evaluation variants, scored on every split: the same training with another final mask."""

    @property
    def folder(self) -> str:
        """Return the name of the training's folder: its name and its seed."""
        return f"{self.name}_seed{self.seed}"

    @property
    def evaluations(self) -> dict[str, list[str]]:
        """Return subfolder of the run → the overrides of `src.eval`."""
        return {
            f"{split}{one.suffix}": [f"split={split}", *_told(one)]
            for one in (Variant(), *self.variants)
            for split in self.splits
        }

    def is_done(self, folder: Path) -> bool:
        """Return whether the training and all its evaluations have finished in ``folder``."""
        return all((folder / name / DONE).exists() for name in ("", *self.evaluations))


def rate_runs(results: Path) -> list[Run]:
    """Return the phase ``lr``: every network at every learning rate."""
    return [
        Run(
            f"lr_{model}_{rate}",
            model,
            ("experiment=camo_rates", *_model(model), f"model.optimizer.lr={rate}"),
            splits=(),
        )
        for model in ("run", *RIVALS)
        for rate in RATES
    ]


def core_runs(results: Path) -> list[Run]:
    """Return the phase ``core``: RUN and its rivals at 224 px, each with three seeds, ``unet`` with one."""
    return [
        Run(
            f"core_{model}",
            model,
            ("experiment=camo_lite0", *_model(model)),
            ("holdout", "test"),
            seed,
            model,
            _core_variants(model),
        )
        for seed in range(3)
        for model in ("run", *RIVALS)
        if model != "unet" or seed == 0
    ]


def ablation_runs(results: Path) -> list[Run]:
    """Return the phase ``ablation``: RUN, RUN without each part, with other choices and numbers of stages, 160 px."""
    choices = {f"run-{part}": f"no_{part}" for part in PARTS}
    choices |= {f"run+{choice}": choice for choice in (*CHOICES, *STAGES)}
    choices |= {f"run-coupling+{choice}": f"[no_coupling,{choice}]" for choice in WITHOUT_UNFOLDING_TOO}
    named = {"run": _model("run")} | {name: (*_model("run"), f"ablation={one}") for name, one in choices.items()}
    named["run_paper"] = _model("run_paper")
    compared = {
        f"run{part}{choice}"
        for part in ("", "-coupling")
        for choice in ("", *(f"+{one}" for one in WITHOUT_UNFOLDING_TOO))
    }
    variants = {model: _as_sharp(model) if model in compared else () for model in named}
    return [
        Run(f"ablation_{model}", model, ("experiment=camo_ablation", *what), ("holdout",), 0, "run", variants[model])
        for model, what in named.items()
    ]


def large_runs(results: Path) -> list[Run]:
    """Return the phase ``large``: RUN and the rival that is best on the hold-out, at 352 px."""
    return [
        Run(
            f"large_{model}",
            model,
            ("experiment=camo_352", *_model(model)),
            ("holdout", "test"),
            0,
            model,
            _core_variants(model),
        )
        for model in ("run", best_rival(results))
    ]


def task_runs(results: Path) -> list[Run]:
    """Return the phase ``tasks``: polyps and vessels."""
    full = ("model.net.levels=coarse_to_fine", "model.net.unfold_stride=1")
    trainings: dict[str, dict[str, tuple[str, ...]]] = {
        "kvasir": {"run": _model("run"), "fpn_ds": ("model=fpn_ds",)},
        "drive": {
            "run": (*_model("run"), *full),
            "fpn_ds": ("model=fpn_ds", *full),
            "unet": ("model=unet",),
            "unet+image_skips": ("model=unet", "model.net.image_skips=true"),
        },
    }
    return [
        Run(
            f"{task}_{model}",
            model,
            (f"experiment={task}_lite0", *told),
            ("test",),
            0,
            model.split("+")[0],
            _as_sharp(model),
        )
        for task, models in trainings.items()
        for model, told in models.items()
    ]


def prompt_runs(results: Path) -> list[Run]:
    """Return the phase ``prompts``: RUN at full resolution, trained without and with prompts, 160 px, three seeds."""
    models: dict[str, tuple[str, ...]] = {"run_full": (), "run_full+prompts": ("prompting=on",)}
    return [
        Run(
            f"prompts_{name}", name, ("experiment=camo_ablation", "model=run", *told), ("holdout",), seed, rate_of="run"
        )
        for seed in range(3)
        for name, told in models.items()
    ]


def recipe_runs(results: Path) -> list[Run]:
    """Return the phase ``recipe``: its choices, changed one at a time.

    What concerns any network is compared on the pyramid, whose training takes a third of RUN's time; what seemed to
    matter most, and RUN's own choices, on RUN. A name such as `fpn_best-ema+epochs` continues the name of the training
    that it is compared with.
    """
    without_ema, large = ("callbacks=default", "callbacks.ema=null"), ("data.augmentation.scales=[0.75,1.0,1.25]",)
    slow = ("callbacks.ema.decay=0.995", "data.augmentation.scales=[0.625,0.8125,1.0]")
    strong, longer = ("data/augmentation=strong",), ("trainer.max_epochs=16",)
    pyramid: dict[str, tuple[str, ...]] = {
        "": (),
        "-ema": without_ema,
        "+larger_sizes": large,
        "-ema+larger_sizes": (*without_ema, *large),
        "-ema+lr_1e-3": (*without_ema, "model.optimizer.lr=1e-3"),
        "-ema+epochs": (*without_ema, *longer),
        "+encoder_lr_0.1": ("model.encoder_lr_scale=0.1",),
        "+encoder_lr_0.3": ("model.encoder_lr_scale=0.3",),
        "+epochs": longer,
        "+epochs+larger_sizes": (*longer, *large),
        "+epochs+strong": (*longer, *strong),
        "-ema+strong+smaller_sizes": (*without_ema, *strong, slow[1]),
        "+slow_ema+smaller_sizes": slow,
        "+slow_ema+smaller_sizes+strong": (*strong, *slow),
    }
    ours: dict[str, tuple[str, ...]] = {
        "": (),
        "-ema": without_ema,
        "+lr_5e-4": ("model.optimizer.lr=5e-4",),
        "+stride_4": ("model.net.levels=[16,8,4,4]",),
        "-full_resolution": ("model=run_quarter", "model.net.mask_step.residual=stages"),
        "+scales": ("encoder.scales=[0.5,1.0,1.5]",),
    }
    choices = {f"fpn_best{choice}": ("model=fpn", *told) for choice, told in pyramid.items()}
    choices |= {f"run_best{choice}": told for choice, told in ours.items()}
    return [
        Run(f"recipe_{name}", name, ("experiment=camo_recipe", *told), ("holdout",), 0, _tuned(name), _as_sharp(name))
        for name, told in choices.items()
    ]


def best_runs(results: Path) -> list[Run]:
    """Return the phase ``best``: what comes with the project and its rivals, the most wanted first."""
    rivals: dict[str, tuple[str, ...]] = {"fpn_best": ("model=fpn",), "fpn_ds_best": ("model=fpn_ds",)}
    camo = {"run_best": ("prompting=on",), **rivals}
    kvasir: dict[str, tuple[str, ...]] = {"run_best": (), "fpn_ds_best": rivals["fpn_ds_best"]}
    return [
        Run(
            f"best_{task}_{name}",
            name,
            (f"experiment={task}_best", *told),
            ("holdout", "test"),
            seed,
            _tuned(name),
            _core_variants(name),
        )
        for task, seeds, models in (("camo", 2, camo), ("kvasir", 3, kvasir))
        for seed in range(seeds)
        for name, told in models.items()
    ]


PHASES: dict[str, Callable[[Path], list[Run]]] = {
    "lr": rate_runs,
    "core": core_runs,
    "ablation": ablation_runs,
    "large": large_runs,
    "tasks": task_runs,
    "prompts": prompt_runs,
    "recipe": recipe_runs,
    "best": best_runs,
}


def with_rates(runs: Sequence[Run], results: Path) -> list[Run]:
    """Return the runs with the learning rates of :func:`best_rates` among their overrides."""
    rates = best_rates(results, list(dict.fromkeys(run.rate_of for run in runs if run.rate_of)))
    return [replace(run, overrides=(*run.overrides, *([rates[run.rate_of]] if run.rate_of else []))) for run in runs]


def best_rates(results: Path, models: Sequence[str]) -> dict[str, str]:
    """Return model → the override of the learning rate with the best hold-out S_α in the runs of the phase `lr`.

    Args:
        results: the folder of stored results.
        models: networks to look up.

    Raises:
        UserError: models for which some rates have not been tried yet.
    """
    runs = read_results(results).runs
    short = runs[(runs["dataset"] == "CAMO") & (runs["epochs"] == RATE_EPOCHS)]
    found = {model: short[short["network"] == model].set_index("lr")["holdout_s_alpha"] for model in models}
    lacking = [model for model, scores in found.items() if not {*map(float, RATES)} <= {*scores.index}]
    if lacking:
        raise UserError(
            f"learning rates of {', '.join(lacking)} are not chosen yet; run python -m scripts.results.matrix lr"
        )
    return {model: f"model.optimizer.lr={scores.idxmax():g}" for model, scores in found.items()}


def best_rival(results: Path) -> str:
    """Return the rival with the best mean S_α on the hold-out at 224 px; the test set is not used.

    Raises:
        UserError: rivals that have not been trained yet.
    """
    found = networks(read_results(results), "holdout").get(("CAMO", 224), {})
    if lacking := [model for model in RIVALS if model not in found]:
        raise UserError(f"{', '.join(lacking)}: not trained yet; run python -m scripts.results.matrix core")
    return max(RIVALS, key=lambda model: mean(found[model].means("s_alpha")))


def _as_sharp(model: str) -> tuple[Variant, ...]:
    """Return the variants that make networks comparable although the closing step sharpens RUN's masks.

    RUN is also evaluated without the closing step, there with scaled logits too; every other network with scaled
    logits.
    """
    return (
        (*WITHOUT_CLOSING, *SCALED_WITHOUT_CLOSING) if model.startswith("run") and "-coupling" not in model else SCALED
    )


def _tuned(name: str) -> str | None:
    """Return the network whose best learning rate one of the recipe's takes; None where the rate is what is changed."""
    return None if "+lr_" in name else name.split("_best")[0]


def _core_variants(model: str) -> tuple[Variant, ...]:
    return (*TWO_ROUNDS, *_as_sharp(model))


def _told(variant: Variant) -> list[str]:
    """Return the overrides of `src.eval` for a variant."""
    values = {"rounds": variant.rounds, "closing_step": variant.closing_step, "sharpness": f"{variant.sharpness:g}"}
    return [f"{name}={value}" for name, value in values.items() if getattr(variant, name) != getattr(Variant(), name)]


def _model(name: str) -> tuple[str, ...]:
    """Return the overrides that select a network; `run` unfolds at a quarter of the resolution."""
    models = {"run": ("model=run_quarter",), "run_paper": ("model=run_paper", "loss=published")}
    return models.get(name, (f"model={name}",))
