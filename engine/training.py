"""The training loop, the same for both settings."""

import logging
import math
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from configs import Config
from dataset import AVEDataset, Batch
from engine.checkpoint import BackgroundWriter, checkpoint_contents
from engine.distributed import Ranks
from engine.evaluation import evaluate, result_line
from engine.feeds import Feed
from engine.metrics import EpochSums
from engine.run_folder import RunFolder
from engine.state import BestEpoch, TrainingState, same_structure
from model.magan import MAGAN
from utils.arithmetic import allow_tf32, autocast, to_device
from utils.errors import InputError
from utils.progress import Progress
from utils.signals import STOP_SIGNALS

log = logging.getLogger(__name__)


class Interrupted(Exception):
    """A signal stopped the run after its state was saved."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class Feeds(NamedTuple):
    """The feeds of a run, by split."""

    train: Feed
    val: Feed
    test: Feed


def run_fingerprint(datasets: Sequence[AVEDataset], ranks: Ranks, compiled: bool) -> dict[str, Any]:
    """Fingerprint of everything besides the config that affects the results. Resuming checks it.

    Args:
        datasets: the training, val and test split.
        ranks: the processes that train together.
        compiled: whether ``torch.compile`` is used.
    """
    data = [dataset.fingerprint() for dataset in datasets]
    return {"data": data, "processes": ranks.world_size, "compiled": compiled}


class Trainer:
    """Trains a network and keeps its best epoch.

    Args:
        model: on ``device``, in the dtype of the precision.
        config: the hyperparameters.
        feeds: of the training, val and test split.
        run: the opened run folder; None on ranks that do not write.
        class_names: of the events, for the checkpoints.
        device: where the arithmetic runs.
        save_seconds: time between writes of ``last.pth.tar``, which is also written at the end.
        ranks: the processes that train together.
        compiled: whether to use ``torch.compile``, which fuses the network's small operations.
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
        self.network = self.compiled_network = ranks.wrap(model, device)
        if compiled and device.type == "cpu":
            log.info("--compile: disabled, on a CPU it makes a step slower")
        elif compiled:  # CUDA graphs avoid launching the many small kernels of a step one by one
            self.compiled_network = torch.compile(self.network, mode="reduce-overhead")
        self.writer = BackgroundWriter()
        self.fingerprint = run_fingerprint([feed.dataset for feed in feeds], ranks, compiled)
        training = config.training
        self.optimizer = torch.optim.Adam(model.parameters(), lr=float(training.lr), fused=True)
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(
            self.optimizer, list(training.lr_milestones), training.lr_factor
        )
        self.state = TrainingState()
        self.signal: int | None = None
        self.can_resume = False  # whether last.pth.tar exists
        self.saved_at = time.monotonic()

    # ------------------------------------------------------------------------------------------------ epochs

    def train(self) -> None:
        """Run the remaining epochs.

        Raises:
            Interrupted: a signal arrived, and the state is saved.
            InputError: the loss or a gradient is not finite, or features cannot be read.
        """
        before = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
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
        """Train on the remaining batches of the epoch."""
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
                self.check_finite()  # waits for the device, so that the time includes its work
            state.seconds = time.monotonic() - self.began
            if progress.due:
                progress.notes = self._notes()
            # Several GPUs decide together to save or stop, which makes them wait, when they exchange sums anyway. On
            # a CPU a step is long, and torchrun would kill a rank that has not stopped 30 s after a signal.
            if self.ranks.world_size == 1 or progress.due or self.device.type == "cpu":
                self.save_or_stop()

    def step(self, batch: Batch) -> None:
        """Update the parameters once. Nothing here waits for the device."""
        precision = self.config.training.precision
        visual, audio = (to_device(features, self.device, precision) for features in (batch.visual, batch.audio))
        labels = batch.labels.to(self.device, non_blocking=True).to(visual.dtype)
        with autocast(self.device, precision):
            # The last batch of an epoch is smaller and not worth a compilation of its own.
            is_full = len(visual) == self.feeds.train.batches.largest_share
            outputs = (self.compiled_network if is_full else self.network)(visual, audio)
            terms = self.model.loss(outputs, labels)

        # With these weights, the gradient averaged over ranks is the gradient of the mean over the whole batch.
        share, whole = self.feeds.train.batches.sizes(self.state.iteration)
        self.optimizer.zero_grad()
        (terms["loss"] * (self.ranks.world_size * share / whole)).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.training.clip_gradient)
        # A fused optimizer skips its update if found_inf is 1.
        finite = torch.isfinite(terms["loss"]) & torch.isfinite(norm)
        self.optimizer.found_inf = self.ranks.all_reduce_max((~finite).to(torch.float32))
        bad = self.optimizer.found_inf > 0
        self.first_bad = torch.where((self.first_bad < 0) & bad, self.state.iteration, self.first_bad)
        self.optimizer.step()
        self.sums.add(terms, self.model.correct(outputs, labels)[:share], share)

    def finish_epoch(self) -> None:
        """Evaluate the epoch, record its metrics and save its weights if it is the best so far."""
        state, training = self.state, self.config.training
        self.check_finite()
        state.seconds = time.monotonic() - self.began
        means = self.sums.means()
        log.info("epoch %d/%d: %s", state.epoch, training.n_epoch, self._notes())
        accuracies: dict[str, float | None] = {"val_accuracy": None, "test_accuracy": None}
        if state.epoch % training.eval_freq == 0 or state.epoch == training.n_epoch:
            accuracies = {f"{split}_accuracy": self.evaluate(split) for split in ("val", "test")}
            for best, score in ((state.best_on_val, "val_accuracy"), (state.best_on_test, "test_accuracy")):
                if accuracies[score] > getattr(best, score):
                    vars(best).update(accuracies, epoch=state.epoch)
        videos_per_second = self._videos_per_second()  # on all ranks, which add up their sums
        if self.run:
            self.run.record(
                {
                    "epoch": state.epoch,
                    **{name: value for name, value in means.items() if name != "accuracy"},
                    "train_accuracy": means["accuracy"],
                    **accuracies,
                    "lr": self.schedule.get_last_lr()[0],
                    "seconds": round(state.seconds, 3),
                    "videos_per_s": round(videos_per_second, 2),
                }
            )
        if self.best.epoch == state.epoch:
            self._save_best(accuracies)
        self.schedule.step()
        self.state = TrainingState(state.epoch + 1, best_on_val=state.best_on_val, best_on_test=state.best_on_test)
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
    def best(self) -> BestEpoch:
        """The best epoch so far on the split that the config selects on."""
        return self.state.best_on_val if self.config.training.select == "val" else self.state.best_on_test

    def check_finite(self) -> None:
        """Stop the run if an update was skipped, or has made the weights infinite.

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
        rows = " and ".join(self.feeds.train.dataset.describe_rows(self.feeds.train.batches.whole()[iteration]))
        raise InputError(
            f"the loss or a gradient is not finite in epoch {self.state.epoch}, iteration {iteration + 1}, whose batch "
            f"has the rows {rows}. The weights were not changed by it. Check the features of these rows; if they are "
            "finite, use a smaller --lr"
        )

    # ------------------------------------------------------------------------------------------------ saving

    def save_last(self) -> None:
        """Write ``last.pth.tar``, from which the run resumes exactly here; all ranks take part."""
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
            "random": self.ranks.all_gather(random),
            **self.fingerprint,
        }
        if self.run:
            scores = {"epoch": self.state.epoch - 1}  # the last finished one
            contents = checkpoint_contents(self.model, self.config, self.class_names, scores, training)
            self.writer.save(self.run.last, contents)
        self.can_resume, self.saved_at = True, time.monotonic()

    def _save_best(self, accuracies: Mapping[str, float | None]) -> None:
        if not self.can_resume:  # or a run that is killed soon has a best epoch and cannot be resumed
            self.save_last()
        if self.run:
            scores = {"epoch": self.state.epoch, **accuracies}
            self.writer.save(self.run.best, checkpoint_contents(self.model, self.config, self.class_names, scores))

    def save_or_stop(self) -> None:
        """Save if it is time to, and stop if a signal arrived; all ranks do so if one of them has a reason.

        Raises:
            Interrupted: the state is saved.
        """
        reasons = torch.tensor([self.signal or 0, time.monotonic() - self.saved_at > self.save_seconds])
        if self.ranks.world_size > 1:
            reasons = self.ranks.all_reduce_max(reasons.to(self.device))
        stop, save = reasons.tolist()
        if stop or save:
            self.save_last()
        if stop:
            self.writer.finish()
            raise Interrupted(stop)

    def restore(self, training: Mapping[str, Any]) -> None:
        """Restore the state that ``save_last`` wrote; the weights are loaded separately.

        Raises:
            InputError: the state is not that of a training of this network.
        """
        moments = [dict.fromkeys(("exp_avg", "exp_avg_sq"), weight.to("meta")) for weight in self.model.parameters()]
        own: dict[str, Any] = {
            "optimizer": {
                "state": {n: {"step": torch.tensor(0.0), **moment} for n, moment in enumerate(moments)},
                "param_groups": self.optimizer.state_dict()["param_groups"],
            },
            "schedule": self.schedule.state_dict(),
        }
        try:
            places = [group["params"] for group in own["optimizer"]["param_groups"]]
            if (
                not same_structure({name: training[name] for name in own}, own)
                or [group["params"] for group in training["optimizer"]["param_groups"]] != places
            ):
                raise ValueError("its optimizer or schedule is a different one, or of a different version of torch")
            self.optimizer.load_state_dict(training["optimizer"])
            self.schedule.load_state_dict(training["schedule"])
            random: dict[str, Tensor] = training["random"][self.ranks.rank]
            torch.set_rng_state(random["cpu"])
            if self.device.type == "cuda" and "cuda" in random:
                torch.cuda.set_rng_state(random["cuda"], self.device)
        except Exception as error:  # contents of an unexpected form can raise anything
            raise InputError(f"the run cannot be resumed from this checkpoint: {error}") from error
        self.state = TrainingState.from_dict(training.get("state"))
        self.can_resume = True

    # ------------------------------------------------------------------------------------------------ progress

    def _notes(self) -> str:
        means = self.sums.means()
        accuracy, loss = means.pop("accuracy"), means.pop("loss")
        terms = " ".join(f"{name} {value:.3f}" for name, value in means.items())
        return f"loss {loss:.4f} acc {accuracy:.2f}% {self._videos_per_second():.1f} videos/s {terms}"

    def _videos_per_second(self) -> float:
        return self.sums.as_floats()["videos"] / max(self.state.seconds, 1e-9)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the program immediately
