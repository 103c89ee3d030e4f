"""An experiment of either setting: one network and one data folder, trained or evaluated as the command line says."""

import logging
import signal
from contextlib import closing
from dataclasses import asdict, fields, replace
from pathlib import Path
from shlex import quote

import torch

from configs import AUTO, Config, Options, parse_options
from configs.config import SELECTIONS
from configs.options import DATA_ROOT
from dataset import AVEDataset, AVEFolder
from dataset.batches import Batches
from dataset.doctor import require_valid_data
from dataset.extraction.record import networks_of
from dataset.layout import training_files
from dataset.size import network_sizes
from dataset.sources import require_files
from engine.checkpoint import save_threshold
from engine.device.choice import choose_device, describe
from engine.device.cuda_graph import CapturedBatches, can_capture
from engine.device.distributed import Ranks
from engine.evaluation import Evaluation, evaluate, result_line
from engine.evaluation.calibration import PastedFeed, calibrated_threshold, threshold_of_pasted
from engine.evaluation.measures import as_columns, from_columns
from engine.evaluation.predictions import require_writable_name, write_predictions
from engine.evaluation.summary import measures_text
from engine.feeds import Feed, choose_feed, make_feed
from engine.resume import check_fingerprint, check_hyperparameters, checkpoint_to_load, folder_to_resume, resolve_config
from engine.run_folder import RunFolder
from engine.training import Feeds, Interrupted, Trainer, run_fingerprint
from model.checkpoint import VERSION, load_checkpoint
from model.network import Network, NetworkConfig
from model.registry import NETWORKS, check_network, make_network, network_class, network_config
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

    Raises:
        InputError: a checkpoint, a config, a flag or a data file cannot be used.
    """

    def __init__(self, options: Options, setting: str) -> None:
        self.ranks = Ranks()
        log_to_terminal(self.ranks.is_main)
        self.options, self.setting = options, setting
        self.run_folder = RunFolder(options.snapshot_pref or options.default_snapshot_pref)
        path = checkpoint_to_load(options, self.run_folder)
        self.checkpoint = load_checkpoint(path, setting) if path else None
        self.resumes = self.checkpoint is not None and bool(self.checkpoint.training) and not options.evaluate
        if options.resume == AUTO and self.checkpoint and not self.resumes:
            raise InputError(
                f"{path} holds weights alone, no run to resume: to start a new run from them, give "
                f"--resume {quote(str(path))} and another --snapshot_pref"
            )
        if self.resumes:
            if self.checkpoint.format_version < VERSION:
                raise InputError(
                    f"{path} is a run of a release 1.x, which this one does not resume: finish it with that release, "
                    "or start a new run from its weights, with --resume best.pth.tar"
                )
            self.run_folder = folder_to_resume(path, options.snapshot_pref)
        root = options.data_root
        if root is None and (self.resumes or options.evaluate):
            root = RunFolder(path.parent).recorded_data_root()
        root = root or DATA_ROOT

        self.device = choose_device(options.gpu, self.ranks)
        config = resolve_config(options, self.checkpoint, self.resumes)
        self.network_class = network_class(config.network, setting)
        self.config = self._completed(config, root)
        if self.resumes:
            check_hyperparameters(path, self.checkpoint.config, self.config)
        if options.evaluate and "event_threshold" not in options.overrides:
            self.threshold = self.checkpoint.threshold
        else:
            self.threshold = self.config.training.event_threshold
        if self.device.type == "cpu":
            keep_freed_memory()
        require_precision(self.device, self.config.training.precision)
        self.model = self._make_model()
        self.folder = AVEFolder(root, self.model.config, parameter_dtype(self.config.training.precision))

    def _completed(self, config: Config, root: Path) -> Config:
        """The config with all hyperparameters: those it leaves out come from the data, or have defaults."""
        network_config(self.network_class, config)  # says what is wrong with a value before data are looked for
        if self.resumes or self.options.evaluate:
            names = [each.name for each in fields(NetworkConfig)]
            data = {name: value for name, value in self.checkpoint.config.model.items() if name in names}
        else:
            require_files(root, training_files(root, self.setting))
            data = network_sizes(root)
        training = config.training
        if training.event_threshold is None:
            training = replace(training, event_threshold=self.network_class.event_threshold)
        return replace(config, model=asdict(network_config(self.network_class, config, data)), training=training)

    def _make_model(self) -> Network:
        training = self.config.training
        torch.manual_seed(training.seed)
        model = make_network(self.network_class, network_config(self.network_class, self.config), self.config.source)
        if model.mixes_videos and self.ranks.world_size > 1:
            raise InputError(
                f"the network attends over the whole batch, which {self.ranks.world_size} processes would split: "
                "use one process, or scope video"
            )
        with out_of_memory_as_error(self.device, "end other programs that use it, or name another device with --gpu"):
            model.to(self.device, parameter_dtype(training.precision))
        if self.checkpoint:
            self.checkpoint.load_into(model)
        if not self.ranks.is_main:  # all ranks have the same initial weights, but draw different dropout masks
            torch.manual_seed(training.seed + 2**32 * self.ranks.rank)
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
        result = self.score()
        columns = {"this network": result.measures()}
        log.info("%s split, %s", self.options.split, measures_text(columns, result.truth.numpy(), result.num_events))
        if self.ranks.is_main:
            print(result_line(result.accuracy))
            if predictions:
                write_predictions(predictions, result, self.class_names(), self.folder.root)
                log.info("predictions: %s", predictions)

    def score(self, observe: bool = False, mismatched: str | None = None) -> Evaluation | None:
        """Evaluate the checkpoint on the split of the command line.

        Args:
            observe: also keep what the network observes, such as gates and attention.
            mismatched: ``visual`` or ``audio``: give each video this modality of a video with another event; the
                evaluation is None if all videos of the split show one event.
        """
        self._check_events()
        split, training = self.options.split, self.config.training
        dataset = self.folder.split(split)
        if mismatched:
            dataset = dataset.mismatched(mismatched)
            if dataset is None:
                return None
        trained, found = map(networks_of, (self.checkpoint.extraction, self.folder.extraction()))
        if trained and found and trained != found:
            log.warning(
                "warning: the checkpoint was trained on features of %s, those of %s were made by %s",
                *(trained, self.folder.root, found),
            )
        log.info(
            "%s, %s split: %d videos, %s, batches of %d%s",
            *(self.checkpoint.path, split, len(dataset), training.precision, training.test_batch_size),
            ", which share attention" if self.model.mixes_videos else "",
        )
        exchanged = f", {MODALITY_NAMES[mismatched]} of another event" if mismatched else ""
        with self.ranks.connected(self.device):
            return self._evaluate(self._read_once(dataset), f"evaluating {split}{exchanged}", observe)

    def _read_once(self, dataset: AVEDataset) -> Feed:
        return self._feed("stream", dataset, self.config.training.test_batch_size)

    def _evaluate(self, feed: Feed | PastedFeed, description: str, observe: bool = False) -> Evaluation:
        training = self.config.training
        progress = Progress(description, training.print_freq)
        captured = CapturedBatches(self.device) if self.cuda_graph and not observe else None
        remedy = f"give a --test_batch_size smaller than {training.test_batch_size}"
        with closing(feed.dataset), out_of_memory_as_error(self.device, remedy):
            return evaluate(
                self.model,
                feed,
                self.device,
                training.precision,
                self.threshold,
                progress,
                self.ranks,
                observe,
                captured,
            )

    def calibrate(self, on: str) -> Evaluation:
        """Choose the threshold of the checkpoint's event probability, and write it and its measures into the file.

        It is the one with the highest accuracy on ``val``, or the one by the labels of the training videos, ``weak``.

        Returns:
            The evaluation of the test split with it.
        """
        feeds = {name: self._read_once(self.folder.split(name)) for name in ("val", "test")}
        evaluations = {name: self._evaluate(feed, f"evaluating {name}") for name, feed in feeds.items()}
        if on == "val":
            self.threshold = calibrated_threshold(evaluations["val"])
        else:
            videos = self._read_once(self.folder.weakly_labelled())
            pasted = PastedFeed(videos, self.config.training.test_batch_size)
            self.threshold = threshold_of_pasted(self._evaluate(pasted, "evaluating training videos"))
        scores = {**self.checkpoint.scores, "calibrated": on}
        for split, evaluation in evaluations.items():
            evaluations[split] = evaluation._replace(threshold=self.threshold)
            measures = evaluations[split].measures()
            scores |= {f"{split}_accuracy": measures.accuracy, **as_columns(split, measures)}
        if self.ranks.is_main:
            save_threshold(self.checkpoint.path, self.threshold, scores)
        return evaluations["test"]

    # ------------------------------------------------------------------------------------------------ training

    def train(self) -> None:
        """Train from the start, from a checkpoint's weights, or from the state of an interrupted run."""
        training = self.config.training
        if self.setting == "supervised" and (training.select == "names" or training.calibrate == "weak"):
            raise InputError(
                "select names and calibrate weak are for training on video labels, and this is the supervised setting: "
                "use --select val, --calibrate val"
            )
        datasets = self._checked_data()
        remedy = f"give a --b smaller than {training.batch_size}, --features ram or stream, or --precision bf16"
        if self.ranks.is_main and not self.resumes:
            self.run_folder.claim(self._replaces)
        try:
            with out_of_memory_as_error(self.device, remedy), self.ranks.connected(self.device):
                trainer = self._make_trainer(datasets)
                trainer.train()
                self._summarize(trainer)
                if training.calibrate != "none":
                    self._calibrate_kept()
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

    def _checked_data(self) -> tuple[AVEDataset, AVEDataset, AVEDataset]:
        """The training, val and test videos, checked before anything is written."""
        root = self.folder.root
        if self.resumes:
            self._check_events()
            require_files(root, training_files(root, self.setting))
        for warning in require_valid_data(root, self.setting):
            log.warning("warning: %s", warning)
        train = self.folder.split("train") if self.setting == "supervised" else self.folder.weakly_labelled()
        datasets = (train, self.folder.split("val"), self.folder.split("test"))
        if self.config.network not in NETWORKS:
            check_network(self.model, train.num_segments)
        if self.resumes:
            check_fingerprint(self.checkpoint.training, run_fingerprint(datasets, self.ranks), root)
        return datasets

    def _make_trainer(self, datasets: tuple[AVEDataset, AVEDataset, AVEDataset]) -> Trainer:
        training, names = self.config.training, self.folder.class_names()
        place = choose_feed(self.options.features, datasets, self.device, self.ranks.local_world_size)
        feeds = Feeds(
            self._feed(place, datasets[0], training.batch_size, training.seed),
            *(self._feed(place, dataset, training.test_batch_size) for dataset in datasets[1:]),
        )
        # Features are loaded by now, so that bad ones cost no earlier run. Once connected, all ranks have read the
        # checkpoint that the main one will replace.
        run = self._open_run() if self.ranks.is_main else None
        trainer = Trainer(
            self.model,
            self.config,
            feeds,
            run,
            names,
            self.device,
            self.options.save_seconds,
            self.ranks,
            self.cuda_graph,
            self.folder.extraction(),
        )
        if self.resumes:
            trainer.restore(self.checkpoint.training)
            log.info("resuming at epoch %d, batch %d", trainer.state.epoch, trainer.state.iteration)
        log.info("%d training videos, %d val, %d test; run folder %s", *map(len, datasets), self.run_folder.path)
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        log.info("%s parameters, %s, %s", f"{parameters:,}", training.precision, self._hardware())
        return trainer

    def _calibrate_kept(self) -> None:
        """Choose the threshold of the kept epoch."""
        self.ranks.all_gather(None)  # until the main one has written it
        if not self.run_folder.best.exists():
            return
        self.checkpoint = load_checkpoint(self.run_folder.best, self.setting)
        self.checkpoint.load_into(self.model)
        test, on = self.calibrate(self.config.training.calibrate), self.config.training.calibrate
        text = measures_text({"kept epoch": test.measures()}, test.truth.numpy(), test.num_events)
        log.info("event threshold of %s, by %s: %.4f", self.run_folder.best.name, on, self.threshold)
        log.info("test split, %s", text)

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

    @property
    def _replaces(self) -> bool:
        """Whether a new run may replace the one in its folder: --resume auto, one that ended before its first save."""
        options = self.options
        return options.overwrite or (options.resume == AUTO and not self.run_folder.best.exists())

    def _open_run(self) -> RunFolder:
        run, options = self.run_folder, self.options
        resolved = {
            "setting": self.setting,
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
            run.resume(resolved, self.checkpoint.training["state"]["epoch"])
            return run
        run.start(resolved)
        if self.checkpoint:
            log.info("%s: a new run from these weights", self.checkpoint.path)
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
            log.info("test split, %s", measures_text(columns, truth, self.model.config.num_events))


def run(description: str, setting: str, snapshot_pref: str) -> None:
    """Do what the command line of an entry script asks for: train, or evaluate a checkpoint."""
    options = parse_options(description, setting, snapshot_pref)
    experiment = Experiment(options, setting)
    if options.evaluate:
        experiment.evaluate()
    else:
        experiment.train()


def evaluation_of(checkpoint: Path, data_root: Path | None, gpu: str, split: str) -> Experiment:
    """The experiment of ``--evaluate`` for a checkpoint of either setting, for the tools."""
    setting = load_checkpoint(checkpoint).setting
    arguments = ["--evaluate", f"--resume={checkpoint}", f"--gpu={gpu}", f"--split={split}"]
    arguments += [f"--data_root={data_root}"] if data_root else []
    return Experiment(parse_options(__doc__, setting, "", arguments), setting)
