"""An experiment of either setting: one network and one data folder, trained or evaluated as the command line says."""

import logging
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shlex import quote

import psutil
import torch

from configs import AUTO, CONFIGS, Config, Options, parse_options
from configs.config import SELECTIONS
from configs.options import DATA_ROOT
from dataset import AVEDataset, AVEFolder
from dataset.batches import Batches
from dataset.doctor import require_valid_data
from dataset.extraction.record import networks_of
from dataset.layout import training_files
from dataset.sources import require_files
from engine.device.choice import choose_device, describe
from engine.device.cuda_graph import CapturedBatches, can_capture
from engine.device.distributed import Ranks
from engine.evaluation import Evaluation, evaluate, result_line
from engine.evaluation.measures import from_columns
from engine.evaluation.predictions import require_writable_name, write_predictions
from engine.evaluation.summary import measures_text
from engine.feeds import Feed, choose_feed, gigabytes, make_feed
from engine.resume import check_fingerprint, checkpoint_to_load, folder_to_resume, resolve_config
from engine.run_folder import RunFolder
from engine.state import TrainingState
from engine.training import Feeds, Interrupted, Trainer, run_fingerprint
from model import MODELS
from model.checkpoint import load_checkpoint
from model.magan import MAGAN
from utils.arithmetic import parameter_dtype, require_precision
from utils.errors import InputError
from utils.log import log_to_terminal
from utils.memory import keep_freed_memory, out_of_memory_as_error
from utils.progress import Progress
from utils.wording import listed

log = logging.getLogger(__name__)

MODALITY_NAMES = {"visual": "picture", "audio": "sound"}


class Experiment:
    """The network, data and device that the command line of an entry script describes.

    ``training_set`` picks the setting's training videos from the data folder.

    Raises:
        InputError: a checkpoint, a config, a flag or a data file cannot be used.
    """

    def __init__(
        self,
        options: Options,
        model_class: type[MAGAN],
        training_set: Callable[[AVEFolder], AVEDataset],
    ) -> None:
        self.ranks = Ranks()
        log_to_terminal(self.ranks.is_main)
        self.options = options
        self.training_set = training_set
        self.run_folder = RunFolder(options.snapshot_pref or options.default_snapshot_pref)

        path = checkpoint_to_load(options, self.run_folder)
        self.checkpoint = load_checkpoint(path, model_class.setting) if path else None
        self.resumes = self.checkpoint is not None and bool(self.checkpoint.training) and not options.evaluate
        if options.resume == AUTO and self.checkpoint and not self.resumes:
            raise InputError(
                f"{path} holds weights alone, no run to resume: to start a new run from them, give "
                f"--resume {quote(str(path))} and another --snapshot_pref"
            )
        if self.resumes:
            self.run_folder = folder_to_resume(path, options.snapshot_pref)
        self.config = resolve_config(options, self.checkpoint, self.resumes)
        if self.ranks.world_size > 1 and self.config.model.scope == "batch":
            raise InputError(
                f"scope batch attends over the whole batch, which {self.ranks.world_size} processes would split: "
                "use one process, or scope video"
            )
        self.device = choose_device(options.gpu, self.ranks)
        if self.device.type == "cpu":
            keep_freed_memory()
        require_precision(self.device, self.config.training.precision)
        self.model = self._make_model(model_class)
        dtype = parameter_dtype(self.config.training.precision)
        root = options.data_root
        if root is None and (self.resumes or options.evaluate):
            root = RunFolder(path.parent).recorded_data_root()
        self.folder = AVEFolder(root or DATA_ROOT, self.config.model, dtype)

    def _make_model(self, model_class: type[MAGAN]) -> MAGAN:
        require_memory_for(model_class, self.config, self.options.evaluate)
        seed = self.config.training.seed
        torch.manual_seed(seed)
        model = model_class(self.config.model)
        with out_of_memory_as_error(self.device, "end other programs that use it, or name another device with --gpu"):
            model.to(self.device, parameter_dtype(self.config.training.precision))
        if self.checkpoint:
            self.checkpoint.load_into(model)
        if not self.ranks.is_main:  # all ranks have the same initial weights, but draw different dropout masks
            torch.manual_seed(seed + 2**32 * self.ranks.rank)
        return model

    def class_names(self) -> list[str]:
        """The events of the checkpoint; for a published one, which has no names, those of the data folder."""
        return self.checkpoint.class_names or self.folder.class_names()

    # ------------------------------------------------------------------------------------------------ evaluation

    def evaluate(self) -> None:
        """Evaluate the checkpoint on a split; the accuracy is the last line on standard output."""
        predictions = self.options.predictions
        if predictions:
            require_writable_name(predictions)
        result = self.score(detailed=predictions is not None)
        columns = {"this network": result.measures()}
        log.info("%s split, %s", self.options.split, measures_text(columns, result.truth.numpy(), result.num_events))
        if self.ranks.is_main:
            print(result_line(result.accuracy))
            if predictions:
                write_predictions(predictions, result, self.class_names(), self.folder.root)
                log.info("predictions: %s", predictions)

    def score(self, detailed: bool = False, mismatched: str | None = None) -> Evaluation | None:
        """Evaluate the checkpoint on the split of the command line.

        Args:
            detailed: also keep probabilities, gates and attention.
            mismatched: ``visual`` or ``audio``: give each video this modality of a video with another event; the
                evaluation is None if all videos of the split show one event.
        """
        self._check_events()
        split, model, training = self.options.split, self.config.model, self.config.training
        dataset = self.folder.split(split)
        self._check_length(dataset)
        if mismatched:
            dataset = dataset.mismatched(mismatched)
            if dataset is None:
                return None
        feed = self._feed("stream", dataset, training.test_batch_size)  # each video is read once
        trained, found = map(networks_of, (self.checkpoint.extraction, self.folder.extraction()))
        if trained and found and trained != found:
            log.warning(
                "warning: the checkpoint was trained on features of %s, those of %s were made by %s",
                *(trained, self.folder.root, found),
            )
        log.info(
            "%s, %s split: %d videos, scope %s, %s, batches of %d",
            self.checkpoint.path,
            split,
            len(dataset),
            model.scope,
            training.precision,
            training.test_batch_size,
        )
        exchanged = f", {MODALITY_NAMES[mismatched]} of another event" if mismatched else ""
        progress = Progress(f"evaluating {split}{exchanged}", training.print_freq)
        remedy = f"give a --test_batch_size smaller than {training.test_batch_size}"
        with closing(dataset), out_of_memory_as_error(self.device, remedy), self.ranks.connected(self.device):
            captured = CapturedBatches(self.device) if self.cuda_graph and not detailed else None
            return evaluate(self.model, feed, self.device, training.precision, progress, self.ranks, detailed, captured)

    # ------------------------------------------------------------------------------------------------ training

    def train(self) -> None:
        """Train from the start, from a checkpoint's weights, or from the state of an interrupted run."""
        training, options = self.config.training, self.options
        if self.model.setting == "supervised" and (training.select == "names" or training.calibrate == "weak"):
            raise InputError(
                "select names and calibrate weak are for training on video labels, and this is the supervised setting: "
                "use --select val, --calibrate val"
            )
        if self.resumes:
            self._check_events()
        require_files(self.folder.root, training_files(self.folder.root, self.model.setting))
        for warning in require_valid_data(self.folder.root, self.config.model, self.model.setting):
            log.warning("warning: %s", warning)
        datasets = (self.training_set(self.folder), self.folder.split("val"), self.folder.split("test"))
        self._check_length(datasets[0])
        class_names = self.folder.class_names()
        if self.resumes:
            fingerprint = run_fingerprint(datasets, self.ranks)
            check_fingerprint(self.checkpoint.training, fingerprint, self.folder.root)
        place = choose_feed(options.features, datasets, self.device, self.ranks.local_world_size)
        remedy = f"give a --b smaller than {training.batch_size}, --features ram or stream, or --precision bf16"
        if self.ranks.is_main and not self.resumes:
            self.run_folder.claim(self._replaces)
        try:
            with out_of_memory_as_error(self.device, remedy), self.ranks.connected(self.device):
                feeds = Feeds(
                    self._feed(place, datasets[0], training.batch_size, training.seed),
                    *(self._feed(place, dataset, training.test_batch_size) for dataset in datasets[1:]),
                )
                # Features are loaded by now, so that bad ones cost no earlier run. Once connected, all ranks have read
                # the checkpoint that the main one will replace.
                run = self._open_run() if self.ranks.is_main else None
                trainer = Trainer(
                    self.model,
                    self.config,
                    feeds,
                    run,
                    class_names,
                    self.device,
                    options.save_seconds,
                    self.ranks,
                    self.cuda_graph,
                    self.folder.extraction(),
                )
                if self.resumes:
                    trainer.restore(self.checkpoint.training)
                    log.info("resuming at epoch %d, batch %d", trainer.state.epoch, trainer.state.iteration)
                log.info(
                    "%d training videos, %d val, %d test; run folder %s", *map(len, datasets), self.run_folder.path
                )
                parameters = sum(parameter.numel() for parameter in self.model.parameters())
                log.info("%s parameters, %s, %s", f"{parameters:,}", training.precision, self._hardware())
                trainer.train()
                self._summarize(trainer)
        except Interrupted as stop:
            name = signal.Signals(stop.number).name
            log.info("%s: stopped and saved; resume with --resume %s", name, quote(str(self.run_folder.last)))
            raise SystemExit(128 + stop.number) from None
        except InputError as error:
            log.debug("error: %s", error)  # for the log file; the command prints it on the terminal
            raise
        finally:
            for dataset in datasets:
                dataset.close()
            self.run_folder.close()

    def _check_events(self) -> None:
        """Compare the events of the checkpoint with those of the data, as far as both are known; warn of others."""
        path, root = self.checkpoint.path, self.folder.root
        trained, found = self.checkpoint.class_names, self.folder.annotated_names() or []
        if not trained or not found or trained == found:
            return
        others = [repr(name) for name in dict.fromkeys((*trained, *found)) if name not in trained or name not in found]
        if not others:
            raise InputError(
                f"{root} has the events of {path} in another order, so that its labels would count as other events: "
                "give it Annotations.txt and labels in the order of the training data"
            )
        log.warning(
            "warning: the checkpoint was trained for other events than those of %s: only one of them has %s",
            *(root, listed(others)),
        )

    def _check_length(self, dataset: AVEDataset) -> None:
        least = self.config.model.top_segments
        if dataset.num_segments < least:
            path = dataset.parts[0][0].path
            raise InputError(
                f"{path} has videos of {dataset.num_segments} segments, expected at least {least} (top_segments of "
                "the config)"
            )

    @property
    def _replaces(self) -> bool:
        """Whether a new run may replace the one in its folder: --resume auto, one that ended before its first save."""
        options = self.options
        return options.overwrite or (options.resume == AUTO and not self.run_folder.best.exists())

    def _open_run(self) -> RunFolder:
        run, options = self.run_folder, self.options
        resolved = {
            "setting": self.model.setting,
            **self.config.as_dict(),
            "arguments": {
                "data_root": str(self.folder.root.absolute()),
                "device": str(self.device),
                "processes": self.ranks.world_size,
                "resume": str(options.resume) if options.resume else None,
                "features": options.features,
                "cuda_graph": self.cuda_graph,
            },
        }
        if self.resumes:
            run.resume(resolved, TrainingState.from_dict(self.checkpoint.training.get("state")).epoch)
            return run
        run.start(resolved)
        if self.checkpoint:
            log.info("%s: a new run from these weights, scope %s", self.checkpoint.path, self.config.model.scope)
        return run

    def _feed(self, place: str, dataset: AVEDataset, batch_size: int, seed: int | None = None) -> Feed:
        batches = Batches(len(dataset), batch_size, seed, self.ranks.rank, self.ranks.world_size)
        return make_feed(place, dataset, batches, self.config.training.num_workers, self.device)

    def _hardware(self) -> str:
        processes = f", {self.ranks.world_size} processes" if self.ranks.world_size > 1 else ""
        if self.device.type == "cpu":
            return f"CPU, {torch.get_num_threads()} threads{processes}"
        graphs = ", CUDA graphs" if self.cuda_graph else ""
        return describe(self.device) + processes + graphs

    @property
    def cuda_graph(self) -> bool:
        """Whether steps and evaluations are replayed as CUDA graphs."""
        return self.options.cuda_graph and can_capture(self.device, self.ranks)

    def _summarize(self, trainer: Trainer) -> None:
        on_test, on_val, on_names = (getattr(trainer.state, f"best_on_{each}") for each in SELECTIONS)
        kept = self.config.training.select
        log.info("finished %d epochs in %s", trainer.state.epoch - 1, self.run_folder.path)
        log.info(
            "best on test:                %.4f%% (epoch %d), as published: chosen on the test split itself%s",
            on_test.test_accuracy,
            on_test.epoch,
            "; kept as best.pth.tar" if kept == "test" else "",
        )
        log.info(
            "test at the best val epoch:  %.4f%% (epoch %d, val %.4f%%), chosen without the test split%s",
            on_val.test_accuracy,
            on_val.epoch,
            on_val.val_accuracy,
            "; kept as best.pth.tar" if kept == "val" else "",
        )
        if kept == "names":
            log.info(
                "test at the best names:      %.4f%% (epoch %d, %.1f%% of val named right), chosen by video labels%s",
                *(on_names.test_accuracy, on_names.epoch, on_names.val_named, "; kept as best.pth.tar"),
            )
        rows = {int(row["epoch"]): row for row in trainer.run.rows} if trainer.run else {}
        columns = {
            f"epoch {epoch}": measures
            for epoch in dict.fromkeys(((on_names if kept == "names" else on_val).epoch, on_test.epoch))
            if (measures := from_columns("test", rows.get(epoch, {})))
        }
        if columns:
            truth = trainer.feeds.test.dataset.labels.argmax(dim=-1).numpy()
            log.info("test split, %s", measures_text(columns, truth, self.config.model.num_events))


def evaluation_of(checkpoint: Path, data_root: Path | None, gpu: str, split: str) -> Experiment:
    """The experiment of ``--evaluate`` for a checkpoint of either setting, for the tools."""
    setting = load_checkpoint(checkpoint).setting
    arguments = ["--evaluate", f"--resume={checkpoint}", f"--gpu={gpu}", f"--split={split}"]
    arguments += [f"--data_root={data_root}"] if data_root else []
    options = parse_options(__doc__, str(CONFIGS[setting]), "", arguments)
    return Experiment(options, MODELS[setting], training_set=AVEFolder.weakly_labelled)


def number_of_parameters(model_class: type[MAGAN], config: Config) -> int:
    """Count the parameters of a network without making it; an ``InputError`` says why it cannot be made."""
    try:
        with torch.device("meta"):  # shapes without values
            return sum(parameter.numel() for parameter in model_class(config.model).parameters())
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the config's network cannot be made: {str(error).splitlines()[0][:200]}") from error


def require_memory_for(model_class: type[MAGAN], config: Config, evaluates: bool) -> None:
    """An ``InputError`` if a network of this size has no room here; the system would kill the program."""
    count = number_of_parameters(model_class, config)
    copies = 1 if evaluates else 4  # training also holds a gradient and Adam's two moments
    size, free = copies * count * parameter_dtype(config.training.precision).itemsize, psutil.virtual_memory().available
    if size > free:
        raise InputError(
            f"the config's network has {count:,} parameters; it takes {gigabytes(size)} at least, "
            f"{gigabytes(free)} of memory are free: give a smaller one"
        )
