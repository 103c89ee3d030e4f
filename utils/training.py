"""The training loop, the same for both settings."""

import logging
import math
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from configs import Config
from dataset.ave import AVEDataset, Batch
from dataset.feeds import Feed
from model.magan import MAGAN
from utils.checkpoint import BackgroundWriter, checkpoint_contents, fits
from utils.device import allow_tf32, autocast, to_device
from utils.distributed import Ranks
from utils.errors import InputError
from utils.evaluation import evaluate, result_line
from utils.progress import Progress
from utils.run_folder import RunFolder

log = logging.getLogger(__name__)


class Interrupted(Exception):
    """A signal stopped the run after its state was saved."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class Feeds(NamedTuple):
    """What a run reads."""

    train: Feed
    val: Feed
    test: Feed


@dataclass
class Best:
    """The best epoch so far on one split: the epoch (0: none yet) and the accuracies it had, in percent."""

    epoch: int = 0
    val_accuracy: float = -1.0
    test_accuracy: float = -1.0


@dataclass
class State:
    """Where a run stands, beside its weights, its optimizer and its random states."""

    epoch: int = 1  # the one that is running, from 1
    iteration: int = 0  # batches of it that are done
    sums: dict[str, float] = field(default_factory=dict)  # over them: loss terms times videos, hits, answers, videos
    seconds: float = 0.0  # that they took
    best_on_val: Best = field(default_factory=Best)
    best_on_test: Best = field(default_factory=Best)

    @classmethod
    def from_dict(cls, values: object) -> "State":
        """The inverse of ``dataclasses.asdict``.

        Raises:
            InputError: these are not the values of a state.
        """
        sums = values.get("sums") if isinstance(values, dict) else None
        own = asdict(cls(sums=dict.fromkeys(sums, 0.0) if isinstance(sums, dict) else {}))
        right = fits(values, own) and values["epoch"] >= 1 and values["iteration"] >= 0
        if not right or (values["iteration"] and not {"loss", "hits", "answers", "videos"} <= sums.keys()):
            raise InputError("the checkpoint does not say where its run stands: it was not written by this program")
        best = {name: Best(**values[name]) for name in ("best_on_val", "best_on_test")}
        return cls(**{**values, **best})


class EpochSums:
    """Sums over an epoch's batches that stay on the device until somebody wants to know them.

    Args:
        sums: where they begin, those of all ranks together.
        device: where they are kept.
        ranks: over which they are added up when they are read, which all ranks do at the same time.
    """

    def __init__(self, sums: dict[str, float], device: torch.device, ranks: Ranks) -> None:
        self.ranks = ranks
        self.sums = {
            name: torch.tensor(value if ranks.main else 0.0, dtype=torch.float64, device=device)
            for name, value in sums.items()
        }

    def add(self, terms: dict[str, Tensor], hits: Tensor, videos: int) -> None:
        """Add a batch: its mean loss terms, which answers were right, and its size."""
        values = {**{name: term.detach() * videos for name, term in terms.items()}, "hits": hits.sum()}
        for name, count in (("answers", hits.numel()), ("videos", videos)):  # filled in there, not copied from here
            values[name] = torch.full((), count, dtype=torch.float64, device=hits.device)
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value.double()

    def as_floats(self) -> dict[str, float]:
        """The sums, read from the device at once."""
        return dict(zip(self.sums, self.ranks.add(torch.stack(list(self.sums.values()))).tolist(), strict=True))

    def means(self) -> dict[str, float]:
        """Each loss term's mean over videos, and ``accuracy``, the percentage of right answers."""
        sums = self.as_floats()
        hits, answers, videos = (sums.pop(name) for name in ("hits", "answers", "videos"))
        return {**{name: value / videos for name, value in sums.items()}, "accuracy": 100 * hits / answers}


def surroundings(datasets: Sequence[AVEDataset], ranks: Ranks, compiled: bool) -> dict:
    """What the figures of a run depend on beside its config, so that it is continued with nothing else.

    Args:
        datasets: what it reads: the training, val and test split.
        ranks: the processes that train together.
        compiled: whether ``torch.compile`` fuses small steps.
    """
    data = [dataset.fingerprint() for dataset in datasets]
    return {"data": data, "processes": ranks.count, "compiled": compiled}


class Trainer:
    """Trains a network and keeps its best epoch.

    Args:
        model: on ``device``, in the dtype of the precision.
        config: the hyperparameters.
        feeds: the training, val and test split.
        run: the folder that everything is written to, opened; None where another rank writes.
        class_names: of the events, kept in the checkpoints.
        device: where the arithmetic runs.
        save_seconds: ``last.pth.tar`` is written when so much time has passed, and at the end.
        ranks: the processes that train together.
        compiled: whether ``torch.compile`` shall fuse the network's small steps.
    """

    def __init__(
        self,
        model: MAGAN,
        config: Config,
        feeds: Feeds,
        run: RunFolder | None,
        class_names: list[str],
        device: torch.device,
        save_seconds: float,
        ranks: Ranks,
        compiled: bool,
    ) -> None:
        self.model, self.config, self.feeds, self.run = model, config, feeds, run
        self.class_names, self.device, self.save_seconds, self.ranks = class_names, device, save_seconds, ranks
        self.network = self.network_of_whole_batches = ranks.wrap(model, device)
        if compiled and device.type == "cpu":
            log.info("--compile: left off, on a CPU it makes a step slower")
        elif compiled:  # CUDA graphs spare the launches of a step's many small kernels
            self.network_of_whole_batches = torch.compile(self.network, mode="reduce-overhead")
        self.writer = BackgroundWriter()
        self.surroundings = surroundings([feed.dataset for feed in feeds], ranks, compiled)
        training = config.training
        self.optimizer = torch.optim.Adam(model.parameters(), lr=float(training.lr), fused=True)
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(
            self.optimizer, list(training.lr_milestones), training.lr_factor
        )
        self.state = State()
        self.signal: int | None = None
        self.goes_on = False  # whether last.pth.tar is there
        self.saved_at = time.monotonic()

    # ------------------------------------------------------------------------------------------------ the run

    def train(self) -> None:
        """Run all epochs that are left.

        Raises:
            Interrupted: SIGINT or SIGTERM arrived; the state is saved.
            InputError: the loss or a gradient is not finite, or features cannot be read.
        """
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self.state.epoch <= self.config.training.n_epoch:
                self.train_epoch()
                self.finish_epoch()
            self.save_last()
            self.writer.finish()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def train_epoch(self) -> None:
        """Train on the batches of the epoch that are left."""
        state, training, feed = self.state, self.config.training, self.feeds.train
        allow_tf32(True)
        self.model.train()
        self.sums = EpochSums(state.sums, self.device, self.ranks)
        self.first_bad = torch.tensor(-1, device=self.device)
        self.began = time.monotonic() - state.seconds

        progress = Progress(f"epoch {state.epoch}/{training.n_epoch}", training.print_freq)
        batches = feed.epoch(state.epoch, start=state.iteration)
        for batch in progress.track(batches, total=len(feed), start=state.iteration):
            self.step(batch)
            state.iteration += 1
            if progress.due:
                self.check_finite()  # waits for the device, so that the time is that of its work
            state.seconds = time.monotonic() - self.began
            if progress.due:
                progress.notes = self._notes()
            # GPUs agree on what to do, which makes them wait, when they meet for the figures anyway. A CPU's steps are
            # long: torchrun, which waits 30 s for a process that it has asked to stop, would kill it before.
            if self.ranks.count == 1 or progress.due or self.device.type == "cpu":
                self.save_or_stop()

    def step(self, batch: Batch) -> None:
        """One update of the parameters. Nothing here waits for the device."""
        precision = self.config.training.precision
        visual, audio = (to_device(features, self.device, precision) for features in (batch.visual, batch.audio))
        labels = batch.labels.to(self.device, non_blocking=True).to(visual.dtype)
        with autocast(self.device, precision):
            # An epoch's last batch is smaller, and not worth a compilation of its own.
            is_whole = len(visual) == self.feeds.train.batches.largest
            outputs = (self.network_of_whole_batches if is_whole else self.network)(visual, audio)
            terms = self.model.loss(outputs, labels)

        # The mean over ranks of gradients weighted so is the gradient of the mean over the whole batch.
        owned, whole = self.feeds.train.batches.sizes(self.state.iteration)
        self.optimizer.zero_grad()
        (terms["loss"] * (self.ranks.count * owned / whole)).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.training.clip_gradient)
        # A fused optimizer leaves everything as it is where its found_inf is 1.
        finite = torch.isfinite(terms["loss"]) & torch.isfinite(norm)
        self.optimizer.found_inf = self.ranks.largest((~finite).to(torch.float32))
        bad = self.optimizer.found_inf > 0
        self.first_bad = torch.where((self.first_bad < 0) & bad, self.state.iteration, self.first_bad)
        self.optimizer.step()
        self.sums.add(terms, self.model.hits(outputs, labels)[:owned], owned)

    def finish_epoch(self) -> None:
        """Evaluate, record and save what the epoch has brought."""
        state, training = self.state, self.config.training
        self.check_finite()
        state.seconds = time.monotonic() - self.began
        means = self.sums.means()
        log.info("epoch %d/%d: %s", state.epoch, training.n_epoch, self._notes())
        accuracies = {"val_accuracy": None, "test_accuracy": None}
        if state.epoch % training.eval_freq == 0 or state.epoch == training.n_epoch:
            accuracies = {f"{split}_accuracy": self.evaluate(split) for split in ("val", "test")}
            for best, score in ((state.best_on_val, "val_accuracy"), (state.best_on_test, "test_accuracy")):
                if accuracies[score] > getattr(best, score):
                    vars(best).update(accuracies, epoch=state.epoch)

        videos_per_s = self.sums.as_floats()["videos"] / max(state.seconds, 1e-9)
        train_accuracy = means.pop("accuracy")
        if self.run:
            self.run.record(
                {
                    "epoch": state.epoch,
                    **means,
                    "train_accuracy": train_accuracy,
                    **accuracies,
                    "lr": self.schedule.get_last_lr()[0],
                    "seconds": round(state.seconds, 3),
                    "videos_per_s": round(videos_per_s, 2),
                }
            )
        if self.best.epoch == state.epoch:
            if not self.goes_on:  # or a run that is killed soon leaves a best epoch and no way to go on
                self.save_last()
            if self.run:
                scores = {"epoch": state.epoch, **accuracies}
                contents = checkpoint_contents(self.model, self.config, self.class_names, scores)
                self.writer.save(self.run.best, contents)
        self.schedule.step()
        self.state = State(state.epoch + 1, best_on_val=state.best_on_val, best_on_test=state.best_on_test)
        self.save_or_stop()

    def evaluate(self, split: str) -> float:
        """Accuracy on a split, in percent."""
        progress = Progress(f"evaluating {split}", print_freq=1 << 62)
        feed, precision = getattr(self.feeds, split), self.config.training.precision
        result = evaluate(self.model, feed, self.device, precision, progress, self.ranks)
        log.info("%s: %s", split, result_line(result.accuracy))
        self.save_or_stop()
        return result.accuracy

    @property
    def best(self) -> Best:
        """The best epoch so far on the split that the config selects on."""
        return self.state.best_on_val if self.config.training.select == "val" else self.state.best_on_test

    def check_finite(self) -> None:
        """Stop the run if an update had to be left out, or has made the weights infinite.

        Raises:
            InputError: names the epoch, the iteration and the rows of the batch.
        """
        iteration = int(self.first_bad)
        if iteration < 0:
            if not torch.nn.utils.get_total_norm(self.model.parameters(), norm_type=math.inf).isfinite():
                raise InputError(
                    f"the weights are not finite in epoch {self.state.epoch}, iteration {self.state.iteration}: "
                    "use a smaller --lr"
                )
            return
        dataset, videos = self.feeds.train.dataset, self.feeds.train.batches.whole()[iteration]
        rows = []
        for part, (visual, _) in enumerate(dataset.parts):
            here = [index for index in videos if dataset.part_of[index] == part]
            if here:
                rows.append(f"{dataset.rows[here].tolist()} of {visual.path.name}")
        raise InputError(
            f"the loss or a gradient is not finite in epoch {self.state.epoch}, iteration {iteration + 1}, whose batch "
            f"has the rows {' and '.join(rows)}. The weights were not changed by it. Look for bad features in these "
            f"rows; where there are none, use a smaller --lr"
        )

    # ------------------------------------------------------------------------------------------------ saving

    def save_last(self) -> None:
        """Write ``last.pth.tar``, from which the run goes on exactly here; all ranks take part."""
        if self.state.iteration:
            self.check_finite()
            self.state.sums = self.sums.as_floats()
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        training = {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "state": asdict(self.state),
            "random": self.ranks.gather(random),
            **self.surroundings,
        }
        if self.run:
            scores = {"epoch": self.state.epoch - 1}  # the last one that is whole
            contents = checkpoint_contents(self.model, self.config, self.class_names, scores, training)
            self.writer.save(self.run.last, contents)
        self.goes_on, self.saved_at = True, time.monotonic()

    def save_or_stop(self) -> None:
        """Save if it is time to, and stop if a signal arrived; several ranks do what any of them has reason to.

        Raises:
            Interrupted: the state is saved.
        """
        reasons = torch.tensor([self.signal or 0, time.monotonic() - self.saved_at > self.save_seconds])
        if self.ranks.count > 1:
            reasons = self.ranks.largest(reasons.to(self.device))
        stop, save = reasons.tolist()
        if stop or save:
            self.save_last()
        if stop:
            self.writer.finish()
            raise Interrupted(stop)

    def restore(self, training: dict) -> None:
        """Go back to where ``save_last`` was called; the model has its weights already.

        Raises:
            InputError: it was called in another network's training.
        """
        moments = [dict.fromkeys(("exp_avg", "exp_avg_sq"), weight.to("meta")) for weight in self.model.parameters()]
        own = {
            "optimizer": {
                "state": {n: {"step": torch.tensor(0.0), **moment} for n, moment in enumerate(moments)},
                "param_groups": self.optimizer.state_dict()["param_groups"],
            },
            "schedule": self.schedule.state_dict(),
        }
        try:
            places = [group["params"] for group in own["optimizer"]["param_groups"]]
            if (
                not fits({name: training[name] for name in own}, own)
                or [group["params"] for group in training["optimizer"]["param_groups"]] != places
            ):
                raise ValueError("its optimizer or its schedule is another, or that of another version of torch")
            self.optimizer.load_state_dict(training["optimizer"])
            self.schedule.load_state_dict(training["schedule"])
            random = training["random"][self.ranks.number]
            torch.set_rng_state(random["cpu"])
            if self.device.type == "cuda" and "cuda" in random:
                torch.cuda.set_rng_state(random["cuda"], self.device)
        except Exception as error:  # there is no end to what contents of another form make these raise
            raise InputError(f"the run cannot be continued from this checkpoint: {error}") from error
        self.state = State.from_dict(training.get("state"))
        self.goes_on = True

    def _notes(self) -> str:
        means = self.sums.means()
        accuracy, loss = means.pop("accuracy"), means.pop("loss")
        terms = " ".join(f"{name} {value:.3f}" for name, value in means.items())
        videos_per_s = self.sums.as_floats()["videos"] / max(self.state.seconds, 1e-9)
        return f"loss {loss:.4f} acc {accuracy:.2f}% {videos_per_s:.1f} videos/s {terms}"

    def _on_signal(self, number: int, frame: object) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)  # a second one ends the program at once
