"""An experiment of either setting: one network, one data folder, trained or evaluated as the command line says."""

import logging
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from configs import Config, Options, load_config, parse_options
from configs.config import AS_PUBLISHED, CONFIGS
from configs.options import AUTO
from dataset import AVEDataset, AVEFolder
from dataset.batches import Batches
from dataset.checks import require_sound_data
from dataset.feeds import Feed, choose_feed, gigabytes, make_feed
from dataset.layout import TRAINING_FILES, require_files
from model import MODELS
from model.magan import MAGAN
from utils.checkpoint import Checkpoint, load_checkpoint
from utils.device import choose_device, parameter_dtype, reported_shortage
from utils.distributed import Ranks
from utils.errors import InputError
from utils.evaluation import Evaluation, evaluate, result_line
from utils.memory import keep_freed_memory
from utils.predictions import require_folder, write_predictions
from utils.progress import Progress
from utils.run_folder import RunFolder, log_to_terminal
from utils.training import Feeds, Interrupted, State, Trainer, surroundings

log = logging.getLogger(__name__)

NOUNS = {"visual": "picture", "audio": "sound"}
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
        self.ranks = Ranks()
        log_to_terminal(self.ranks.main)
        self.options = options
        self.training_set = training_set
        self.run_folder = RunFolder(options.snapshot_pref or options.default_snapshot_pref)

        resume = self._checkpoint_to_resume()
        self.checkpoint = load_checkpoint(resume, model_class.setting) if resume else None
        self.continues = self.checkpoint is not None and bool(self.checkpoint.training) and not options.evaluate
        if options.resume == AUTO and self.checkpoint and not self.continues:
            raise InputError(
                f"{resume} holds weights alone, no run to continue: to start a new run from them, give "
                f"--resume {resume} and another --snapshot_pref"
            )
        if self.continues:
            self.run_folder = self._own_folder(resume)
        self.config = resolve_config(options, self.checkpoint, self.continues)
        if self.ranks.count > 1 and self.config.model.scope == "batch":
            raise InputError(
                f"scope batch attends over the whole batch, which {self.ranks.count} processes would split: "
                "use one process, or scope video"
            )
        self.device = choose_device(options.gpu, self.ranks)
        if self.device.type == "cpu":
            keep_freed_memory()
        elif self.config.training.precision == "bf16" and not torch.cuda.is_bf16_supported():
            raise InputError(f"{torch.cuda.get_device_name(self.device)} has no bfloat16: use --precision fp32")

        require_room(model_class, self.config)
        torch.manual_seed(self.config.training.seed)
        self.model = model_class(self.config.model)
        with reported_shortage(self.device, "end what else uses it, or name another device with --gpu"):
            self.model.to(self.device, parameter_dtype(self.config.training.precision))
        if self.checkpoint:
            self.checkpoint.load_into(self.model)
        if not self.ranks.main:  # all ranks have the same weights; dropout is each one's own
            torch.manual_seed(self.config.training.seed + 2**32 * self.ranks.number)

        model = self.config.model
        wide = parameter_dtype(self.config.training.precision)
        self.folder = AVEFolder(options.data_root, model.num_events, model.visual_dim, model.audio_dim, wide)

    def class_names(self) -> list[str]:
        """The events that the checkpoint was trained for; of a published one, which has no names, the folder's."""
        return self.checkpoint.class_names or self.folder.class_names()

    def evaluate(self) -> None:
        """Score the checkpoint on a split; the accuracy is the last line on standard output."""
        predictions = self.options.predictions
        if predictions:
            require_folder(predictions)
        result = self.score(detailed=predictions is not None)
        log.info("always answering background: %.4f%%", result.background)
        if self.ranks.main:
            print(result_line(result.accuracy))
            if predictions:
                write_predictions(predictions, result, self.class_names(), self.folder, self.options.split)
                log.info("predictions: %s", predictions)

    def score(self, detailed: bool = False, mismatched: str | None = None) -> Evaluation | None:
        """What the checkpoint says of the split.

        Args:
            detailed: whether probabilities, gates and attention are kept, too.
            mismatched: the modality, ``visual`` or ``audio``, that each video shall have from one of another event.

        Returns:
            The evaluation; None where mismatched videos are asked for and all videos of the split show one event.
        """
        split, model, training = self.options.split, self.config.model, self.config.training
        dataset = self.folder.split(split)
        self._check_length(dataset)
        if mismatched:
            dataset = dataset.mismatched(mismatched)
            if dataset is None:
                return None
        feed = self._feed("stream", dataset, training.test_batch_size)  # each video is read once, when it is needed
        annotated = self.folder.annotated_names()
        if self.checkpoint.class_names and annotated and self.checkpoint.class_names != annotated:
            log.warning("warning: the checkpoint was trained for other events than %s names", self.folder.root)
        log.info(
            "%s, %s split: %d videos, scope %s, %s, batches of %d",
            self.checkpoint.path,
            split,
            len(dataset),
            model.scope,
            training.precision,
            training.test_batch_size,
        )
        exchanged = f", {NOUNS[mismatched]} of another event" if mismatched else ""
        progress = Progress(f"evaluating {split}{exchanged}", training.print_freq)
        shortage = reported_shortage(self.device, f"give a --test_batch_size smaller than {training.test_batch_size}")
        with shortage, self.ranks.connected(self.device):
            return evaluate(self.model, feed, self.device, training.precision, progress, self.ranks, detailed)

    def train(self) -> None:
        """Train from the start, from a checkpoint's weights, or from where a run was left."""
        training = self.config.training
        require_files(self.folder.root, TRAINING_FILES[self.model.setting])
        for warning in require_sound_data(self.folder.root, self.config.model, self.model.setting):
            log.warning("warning: %s", warning)
        datasets = (self.training_set(self.folder), self.folder.split("val"), self.folder.split("test"))
        self._check_length(datasets[0])
        class_names = self.folder.class_names()
        if self.continues:
            self._check_surroundings(surroundings(datasets, self.ranks, self.options.compile))
        where = choose_feed(self.options.features, datasets, self.device, self.ranks.count_here)
        run = None
        try:
            batch_sizes = (training.batch_size, training.test_batch_size, training.test_batch_size)
            seeds = (training.seed, None, None)
            shortage = reported_shortage(
                self.device,
                f"give a --b smaller than {training.batch_size}, --features ram or stream, or --precision bf16",
            )
            with shortage, self.ranks.connected(self.device):
                run = self._open_run() if self.ranks.main else None  # by now all of them have read their checkpoint
                feeds = Feeds(*(self._feed(where, *each) for each in zip(datasets, batch_sizes, seeds, strict=True)))
                trainer = Trainer(
                    self.model,
                    self.config,
                    feeds,
                    run,
                    class_names,
                    self.device,
                    self.options.save_seconds,
                    self.ranks,
                    self.options.compile,
                )
                if self.continues:
                    trainer.restore(self.checkpoint.training)
                    log.info("going on in epoch %d, after %d batches", trainer.state.epoch, trainer.state.iteration)
                log.info(
                    "%d training videos, %d val, %d test; run folder %s", *map(len, datasets), self.run_folder.path
                )
                parameters = sum(parameter.numel() for parameter in self.model.parameters())
                log.info("%s parameters, %s, %s", f"{parameters:,}", training.precision, self._hardware())
                trainer.train()
                self._summarize(trainer)
        except Interrupted as stop:
            name = signal.Signals(stop.number).name
            log.info("%s: stopped and saved; continue with --resume %s", name, self.run_folder.last)
            raise SystemExit(128 + stop.number) from None
        except InputError as error:
            log.debug("error: %s", error)  # to the run's log; the terminal has it from the command
            raise
        finally:
            if run:
                run.close()

    def _checkpoint_to_resume(self) -> Path | None:
        if self.options.resume != AUTO:
            return self.options.resume
        return self.run_folder.last if self.run_folder.last.exists() else None

    def _own_folder(self, last: Path) -> RunFolder:
        run = RunFolder(last.parent)
        if last.name != run.last.name or not run.config.exists():
            raise InputError(
                f"{last} is of a run, to be continued in its own folder as {run.last.name}, beside {run.config.name} "
                "and the other files of the run: put it back there"
            )
        asked = self.options.snapshot_pref
        if asked and asked.resolve() != last.resolve().parent:
            raise InputError(
                f"{last} is continued in its own folder, not in {asked}: leave --snapshot_pref out, or copy the folder"
            )
        return run

    def _check_length(self, dataset: AVEDataset) -> None:
        visual, _ = dataset.parts[0]
        least = self.config.model.top_segments
        if visual.shape[1] < least:
            raise InputError(
                f"{visual.path} has videos of {visual.shape[1]} segments, expected at least {least} (top_segments of "
                "the config)"
            )

    def _check_surroundings(self, now: dict) -> None:
        """See that the run to continue finds what it had."""
        before = {name: self.checkpoint.training.get(name) for name in now}
        if before["data"] != now["data"]:
            raise InputError(
                f"{self.folder.root} does not hold the data that the run to continue was trained on: name its folder "
                "with --data_root"
            )
        if before["processes"] != now["processes"]:
            raise InputError(
                f"the run to continue has {before['processes']} processes, not {now['processes']}: start as many"
            )
        if before["compiled"] != now["compiled"]:
            used = "with" if before["compiled"] else "without"
            raise InputError(f"the run to continue was trained {used} --compile: continue it so")

    def _open_run(self) -> RunFolder:
        run = self.run_folder
        resolved = {
            "setting": self.model.setting,
            **self.config.as_dict(),
            "arguments": {
                "data_root": str(self.options.data_root),
                "device": str(self.device),
                "processes": self.ranks.count,
                "resume": str(self.options.resume) if self.options.resume else None,
                "features": self.options.features,
                "compile": self.options.compile,
            },
        }
        if self.continues:
            run.go_on(resolved, State.from_dict(self.checkpoint.training.get("state")).epoch)
            return run
        # What a run that --resume auto restarts left behind before it first saved is not worth keeping.
        overwrite = self.options.overwrite or (self.options.resume == AUTO and not run.best.exists())
        run.start(resolved, overwrite)
        if self.checkpoint:
            log.info("%s: a new run from these weights, scope %s", self.checkpoint.path, self.config.model.scope)
        return run

    def _feed(self, where: str, dataset: AVEDataset, batch_size: int, seed: int | None = None) -> Feed:
        batches = Batches(len(dataset), batch_size, seed, self.ranks.number, self.ranks.count)
        return make_feed(where, dataset, batches, self.config.training.num_workers, self.device)

    def _hardware(self) -> str:
        processes = f", {self.ranks.count} processes" if self.ranks.count > 1 else ""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device) + processes
        return f"CPU, {torch.get_num_threads()} threads{processes}"

    def _summarize(self, trainer: Trainer) -> None:
        on_test, on_val = trainer.state.best_on_test, trainer.state.best_on_val
        kept = self.config.training.select
        log.info("finished %d epochs in %s", trainer.state.epoch - 1, self.run_folder.path)
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


def evaluation_of(checkpoint: Path, data_root: Path, gpu: str, split: str) -> Experiment:
    """What ``--evaluate`` makes of a checkpoint of either setting, for the tools.

    Raises:
        InputError: as ``Experiment``.
    """
    setting = load_checkpoint(checkpoint).setting
    arguments = ("--evaluate", f"--resume={checkpoint}", f"--data_root={data_root}", f"--gpu={gpu}", f"--split={split}")
    options = parse_options(__doc__, str(CONFIGS[setting]), "", arguments)
    return Experiment(options, MODELS[setting], training_set=AVEFolder.weakly_labelled)


def require_room(model_class: Callable[..., MAGAN], config: Config) -> None:
    """See that a network of this size can be made here, before the system ends the program that tries.

    Raises:
        InputError: it is too large.
    """
    try:
        with torch.device("meta"):  # shapes without numbers
            numbers = sum(parameter.numel() for parameter in model_class(config.model).parameters())
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the config's network cannot be made: {str(error).splitlines()[0][:200]}") from error
    # Training holds a parameter, its gradient and Adam's two moments.
    size, free = 4 * numbers * parameter_dtype(config.training.precision).itemsize, psutil.virtual_memory().available
    if size > free:
        raise InputError(
            f"the config's network has {numbers:,} parameters; to train it takes {gigabytes(size)} at least, "
            f"{gigabytes(free)} of memory are free: give a smaller one"
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
            "%s: in the authors' format. What they published was trained and scored in float64, with attention over "
            "the whole batch and test batches of 16 in test order; so is this, where no flag says otherwise",
            checkpoint.path,
        )
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
