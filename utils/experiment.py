"""An experiment of either setting: one network, one data folder, trained or evaluated as the command line says."""

import logging
import signal
from collections.abc import Callable

import torch

from configs import Config, Options, load_config
from dataset import AVEDataset, AVEFolder
from dataset.batches import Batches, Loader
from dataset.layout import TRAINING_FILES, require_files
from model.magan import MAGAN
from utils.checkpoint import Checkpoint, load_checkpoint
from utils.device import choose_device, parameter_dtype
from utils.errors import InputError
from utils.evaluation import evaluate, result_line
from utils.progress import Progress
from utils.run_folder import RunFolder, log_to_terminal
from utils.training import Interrupted, Loaders, Trainer

log = logging.getLogger(__name__)

# How the published checkpoint was trained and scored, whatever the config says.
AS_PUBLISHED = {"scope": "batch", "precision": "fp64", "test_batch_size": 16}
# What may change when a run is continued: nothing that its figures depend on.
CHANGEABLE = {"n_epoch", "num_workers", "print_freq"}


class Experiment:
    """What the command line of an entry script asks for.

    Args:
        options: the command line.
        model_class: the setting's network.
        training_set: picks the setting's training videos from the data folder.

    Raises:
        InputError: a checkpoint, a config, a flag or a data file cannot be used.
    """

    def __init__(
        self,
        options: Options,
        model_class: Callable[..., MAGAN],
        training_set: Callable[[AVEFolder], AVEDataset],
    ) -> None:
        log_to_terminal()
        self.options = options
        self.training_set = training_set
        self.checkpoint = load_checkpoint(options.resume, model_class.setting) if options.resume else None
        self.continues = self.checkpoint is not None and bool(self.checkpoint.training) and not options.evaluate
        if (
            self.continues
            and options.snapshot_pref
            and options.snapshot_pref.resolve() != options.resume.resolve().parent
        ):
            raise InputError(
                f"{options.resume} is continued in its own folder, not in {options.snapshot_pref}: "
                "leave --snapshot_pref out, or copy the folder"
            )
        self.config = resolve_config(options, self.checkpoint, self.continues)
        self.device = choose_device(options.gpu)

        torch.manual_seed(self.config.training.seed)
        self.model = model_class(self.config.model)
        self.model.to(self.device, parameter_dtype(self.config.training.precision))
        if self.checkpoint:
            self.checkpoint.load_into(self.model)

        model = self.config.model
        wide = parameter_dtype(self.config.training.precision)
        self.folder = AVEFolder(options.data_root, model.num_events, model.visual_dim, model.audio_dim, wide)

    def evaluate(self) -> None:
        """Score the checkpoint on a split; the accuracy is the last line on standard output."""
        split = self.options.split
        loader = self._loader(self.folder.split(split), self.config.training.test_batch_size)
        names = self.folder.class_names()
        if self.checkpoint.class_names not in (None, names):
            log.warning("warning: the checkpoint was trained for other events than %s names", self.folder.root)
        model, training = self.config.model, self.config.training
        log.info(
            "%s, %s split: %d videos, scope %s, %s, batches of %d",
            self.checkpoint.path,
            split,
            len(loader.dataset),
            model.scope,
            training.precision,
            training.test_batch_size,
        )
        progress = Progress(f"evaluating {split}", training.print_freq)
        result = evaluate(self.model, loader, self.device, training.precision, progress)
        log.info("always answering background: %.4f%%", result.background)
        print(result_line(result.accuracy))

    def train(self) -> None:
        """Train from the start, from a checkpoint's weights, or from where a run was left."""
        training = self.config.training
        require_files(self.folder.root, TRAINING_FILES[self.model.setting])
        train, val, test = self.training_set(self.folder), self.folder.split("val"), self.folder.split("test")
        loaders = Loaders(
            self._loader(train, training.batch_size, training.seed),
            self._loader(val, training.test_batch_size),
            self._loader(test, training.test_batch_size),
        )
        run = self._open_run()
        trainer = Trainer(
            self.model, self.config, loaders, run, self.folder.class_names(), self.device, self.options.save_seconds
        )
        if self.continues:
            trainer.restore(self.checkpoint.training)
            run.go_on(trainer.state.epoch)
            log.info("going on in epoch %d, after %d batches", trainer.state.epoch, trainer.state.iteration)
        log.info(
            "%d training videos, %d val, %d test; %s parameters; run folder %s",
            len(train),
            len(val),
            len(test),
            f"{sum(parameter.numel() for parameter in self.model.parameters()):,}",
            run.path,
        )
        try:
            trainer.train()
        except Interrupted as stop:
            name = signal.Signals(stop.number).name
            log.info("%s: stopped and saved; continue with --resume %s", name, run.last)
            raise SystemExit(128 + stop.number) from None
        except InputError as error:
            log.debug("error: %s", error)  # to the run's log; the terminal has it from the command
            raise
        else:
            self._summarize(trainer)
        finally:
            run.close()

    def _open_run(self) -> RunFolder:
        if self.continues:
            return RunFolder(self.checkpoint.path.parent)
        run = RunFolder(self.options.snapshot_pref or self.options.default_snapshot_pref)
        arguments = {
            "data_root": str(self.options.data_root),
            "device": str(self.device),
            "resume": str(self.options.resume) if self.options.resume else None,
        }
        run.start(self.config, self.model.setting, arguments, self.options.overwrite)
        if self.checkpoint:
            log.info("%s: a new run from these weights, scope %s", self.checkpoint.path, self.config.model.scope)
        return run

    def _loader(self, dataset: AVEDataset, batch_size: int, seed: int | None = None) -> Loader:
        return Loader(dataset, Batches(len(dataset), batch_size, seed), self.config.training.num_workers)

    def _summarize(self, trainer: Trainer) -> None:
        on_test, on_val = trainer.state.best_on_test, trainer.state.best_on_val
        kept = self.config.training.select
        log.info("finished %d epochs in %s", trainer.state.epoch - 1, trainer.run.path)
        log.info(
            "best on test:                %.4f%% (epoch %d), as published: chosen on the test split itself%s",
            on_test.test_accuracy,
            on_test.epoch,
            "; kept as best.pth.tar" if kept == "test" else "",
        )
        log.info(
            "test at the best val epoch:  %.4f%% (epoch %d, val %.4f%%), the test split has no say%s",
            on_val.test_accuracy,
            on_val.epoch,
            on_val.val_accuracy,
            "; kept as best.pth.tar" if kept == "val" else "",
        )


def resolve_config(options: Options, checkpoint: Checkpoint | None, continues: bool) -> Config:
    """Flags over the checkpoint's own config, where it is scored or continued, over the config file.

    A published checkpoint is scored as it was made: scope ``batch``, float64, test batches of 16.

    Raises:
        InputError: a value is bad, or differs from that of the run to continue.
    """
    flags = options.overrides
    if checkpoint and checkpoint.published and options.evaluate:
        config = load_config(options.config or options.default_config).with_values(AS_PUBLISHED, "published values")
        log.info(
            "%s: published by the authors. It was trained and scored in float64, with attention over the",
            checkpoint.path,
        )
        log.info("whole batch and test batches of 16 in test order; it is scored in the same way")
        for name in AS_PUBLISHED.keys() & flags.keys():
            if flags[name] != AS_PUBLISHED[name]:
                log.warning("warning: --%s %s is not how it was made (%s)", name, flags[name], AS_PUBLISHED[name])
    elif checkpoint and not checkpoint.published and (continues or options.evaluate) and not options.config:
        config = checkpoint.config
    else:
        config = load_config(options.config or options.default_config)

    resolved = config.with_values(flags, "command line")
    if continues:
        before, after = (
            {**values["model"], **values["training"]} for values in map(Config.as_dict, (checkpoint.config, resolved))
        )
        for name in before:
            if before[name] != after[name] and name not in CHANGEABLE:
                raise InputError(
                    f"{checkpoint.path} was trained with {name} {before[name]}, not {after[name]}: a run is continued "
                    f"as it began, only {', '.join(sorted(CHANGEABLE))} may change"
                )
    return resolved
