"""Hyper-parameter search: the Hydra sweeper behind ``python -m src.train sweep=optuna`` (`conf/sweep/optuna.yaml`).

Hydra only finds sweepers in the namespace package `hydra_plugins`, and every command imports that package: heavy
imports are therefore inside the functions. Hydra's own plugin (hydra-optuna-sweeper 1.3.0) still requires Optuna 2;
the syntax of the search space is the same.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from src.cli.command_line import override, shell_line
from src.utils.errors import Problems, UserError
from src.utils.launch import launched

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

STUDY = "optuna.db"
BEST = "best.yaml"


class OptunaSweeper(Sweeper):
    """Searches with Optuna's TPE for the highest S_α on the hold-out (that of the best epoch); uses no test set.

    The study is stored in the multirun's folder: the same command with the same ``paths.output_dir`` resumes the
    search, even in the middle of a trial. A trial that fails is recorded, and the search continues.

    Args:
        trials: total number of trials; it may be raised later.
        parallel: number of trials that the launcher gets at once; more than one only helps with a cluster launcher.
        seed: of the sampler, not of the trainings.
        space: key → ``interval(a,b)``, ``tag(log,interval(a,b))``, ``int(interval(a,b))``, ``range(…)`` or
            ``choice(…)``. The command line wins: ``KEY=VALUE`` fixes a key, ``'KEY=interval(a,b)'`` searches it.
    """

    hydra_context: HydraContext
    config: DictConfig
    launcher: Launcher

    def __init__(self, trials: int, parallel: int, seed: int, space: Mapping[str, str]) -> None:
        self.trials, self.parallel, self.seed, self.given = trials, parallel, seed, dict(space)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store Hydra's arguments and make the launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.folder = Path(config.hydra.sweep.dir)

    def sweep(self, arguments: list[str]) -> None:
        """Run the missing trials and print the best one. User errors end the process with status 2."""
        try:
            if find_spec("optuna") is None:
                raise UserError("sweep=optuna needs the package optuna: pip install -e '.[sweep]'")
            self._search(arguments)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    def _search(self, arguments: Sequence[str]) -> None:
        self.fixed, space = self._split(arguments)
        self._check(space)
        study = self._study(space)
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        try:
            for trial in study.trials:
                if not trial.state.is_finished():  # its process was killed
                    self._run(study, {trial.number: trial.params}, resumed=True)
            while (missing := self.trials - len(study.trials)) > 0:
                asked = [study.ask(space) for _ in range(min(self.parallel, missing))]
                self._run(study, {trial.number: trial.params for trial in asked})
        except BaseException:
            typed = [
                *arguments,
                *(word for word in self.config.hydra.overrides.hydra if not word.startswith("hydra.mode=")),
            ]
            print(
                f"resume the search with: {self._line(typed, override('paths.output_dir', self.folder))}",
                file=sys.stderr,
            )
            raise
        self._tell_best(study)

    def _split(self, arguments: Sequence[str]) -> tuple[list[str], dict[str, BaseDistribution]]:
        """Return the overrides of every trial, and the search space."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = parser.parse_overrides([f"{key}={value}" for key, value in self.given.items()])
        chosen = {
            override.get_key_element(): override for override in [*given, *parser.parse_overrides(list(arguments))]
        }
        fixed = [
            f"{key}={one.get_value_element_as_str()}" for key, one in chosen.items() if not one.is_sweep_override()
        ]
        return fixed, {key: distribution(one) for key, one in chosen.items() if one.is_sweep_override()}

    def _check(self, space: Mapping[str, BaseDistribution]) -> None:
        from src.report.sweep.jobs import REPLICATES

        launch = launched()
        problems = Problems(
            f"{key}: only repeats a configuration; a search over it would pick a lucky run"
            for key in space
            if key in REPLICATES
        )
        problems += (
            [] if space else ["nothing to search: hydra.sweeper.space is empty, and no KEY=interval(a,b) was typed"]
        )
        problems += (
            ["test=true: a search must not use the test sets; test the best trial afterwards"]
            if self.config.test
            else []
        )
        for key in ("trials", "parallel"):
            if type(getattr(self, key)) is not int or getattr(self, key) < 1:
                problems.append(f"hydra.sweeper.{key}={getattr(self, key)}: expected a whole number, at least 1")
        problems += (
            [f"{launch.by}: a search starts its trials' processes itself"]
            if launch is not None and launch.processes > 1
            else []
        )
        problems.raise_all("sweep=optuna:")
        self.validate_batch_is_legal([[*self.fixed, *_overrides({key: _first(one) for key, one in space.items()})]])

    def _study(self, space: Mapping[str, BaseDistribution]) -> Study:
        """Return the folder's study, or a new one.

        Raises:
            UserError: the study was started with another space or with other overrides.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = f"sqlite:///{(self.folder / STUDY).absolute()}"
        study = optuna.create_study(storage=storage, study_name="search", direction="maximize", load_if_exists=True)
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.trials), constant_liar=self.parallel > 1)
        own = sorted(
            [*(f"{key}={one}" for key, one in space.items()), *(word for word in self.fixed if not _is_place(word))]
        )
        before = study.user_attrs.get("overrides", own)
        if before != own:
            differences = [*(f"there, not here: {word}" for word in before if word not in own)]
            differences += [f"here, not there: {word}" for word in own if word not in before]
            raise UserError(
                f"{self.folder} holds a search with other settings; take another paths.output_dir, or correct:",
                differences,
            )
        study.set_user_attr("overrides", own)
        return study

    def _run(self, study: Study, trials: Mapping[int, Mapping[str, Any]], resumed: bool = False) -> None:
        """Launch the trials (number → parameters, consecutive numbers) and report their results to the study."""
        from optuna.trial import TrialState

        from src.report.sweep.jobs import read_job

        batch = []
        for number, parameters in trials.items():
            whole = resumed and any((self.folder / str(number) / "checkpoints").glob("*.ckpt"))
            batch.append([*self.fixed, *_overrides(parameters), *(["ckpt_path=last"] if whole else [])])
        self.launcher.launch(batch, initial_job_idx=min(trials))
        for number, parameters in trials.items():
            job = read_job(self.folder / str(number))
            if job.state == "finished" and not math.isnan(job.best):
                study.tell(number, job.best)
                words = ", ".join(_overrides(parameters))
                print(f"trial {number} of {self.trials}: S_α {job.best:.4f} (best {study.best_value:.4f}); {words}")
            else:
                study.tell(number, state=TrialState.FAIL)
                why = job.why or "there is no S_α of a hold-out in its log"
                print(f"trial {number} of {self.trials}: {job.state}; {why}")

    def _tell_best(self, study: Study) -> None:
        done = [trial for trial in study.trials if trial.value is not None]
        if not done:
            why = f"python -m src.report.sweep {self.folder} lists why"
            raise UserError(f"none of the {len(study.trials)} trials gave an S_α; {why}")
        best = study.best_trial
        found = _overrides(best.params)
        OmegaConf.save({"trial": best.number, "val/s_alpha": best.value, "overrides": found}, self.folder / BEST)
        words = [
            word
            for word in self.fixed
            if not word.startswith(("sweep=", "test=", "ckpt_path=")) and not _is_place(word)
        ]
        where = f"on the hold-out ({self.folder / BEST})"
        print(f"best of {len(done)}: trial {best.number}, S_α {best.value:.4f} {where}; train and test it:")
        print(f"  {self._line([*words, *found])}")
        print(f"all of them: python -m src.report.sweep {shlex.quote(str(self.folder))}")

    def _line(self, words: Sequence[str], *more: str) -> str:
        return shell_line("src.train", *(word for word in words if not (more and _is_place(word))), *more)


def distribution(override: Override) -> BaseDistribution:
    """Return the Optuna distribution of a sweep in Hydra's syntax.

    Raises:
        UserError: an interval that is empty or has no bounds, or a logarithmic one that reaches 0.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        if low is None or high is None or not low < high or (log and low <= 0):
            needs = "0 < a < b for log" if log else "a < b"
            raise UserError(f"{override.input_line}: an interval(a,b) needs {needs}")
        whole = isinstance(low, int) and isinstance(high, int)
        return IntDistribution(int(low), int(high), log=log) if whole else FloatDistribution(low, high, log=log)
    numbers = list(override.sweep_iterator())
    if override.is_range_sweep() and all(isinstance(number, int) for number in numbers) and len(numbers) > 1:
        return IntDistribution(min(numbers), max(numbers), step=abs(numbers[1] - numbers[0]))  # type: ignore[operator, type-var, arg-type]
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def _overrides(parameters: Mapping[str, Any]) -> list[str]:
    """Return the parameters as overrides, floats with three digits: enough for a search, and easy to type."""
    return [f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in parameters.items()]


def _first(one: BaseDistribution) -> Any:
    return getattr(one, "low", None) if hasattr(one, "low") else one.choices[0]  # type: ignore[attr-defined]


def _is_place(word: str) -> bool:
    return word.startswith("paths.output_dir=")
