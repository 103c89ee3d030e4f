"""The training loop, the same for both settings."""

import logging
import math
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from configs import Config
from configs.config import SELECTIONS
from dataset import AVEDataset, Batch
from engine.checkpoint import BackgroundWriter, Origin, checkpoint_contents
from engine.device.adam import Adam
from engine.device.bfloat16 import BFloat16Weights
from engine.device.cuda_graph import CapturedBatches, CapturedCall, can_capture
from engine.device.distributed import Ranks
from engine.evaluation import Evaluation, evaluate, result_line
from engine.evaluation.measures import Measures, as_columns
from engine.feeds import Feed
from engine.learning import learns_nothing
from engine.metrics import EpochSums
from engine.run_folder import RunFolder
from engine.state import BestEpoch, TrainingState
from model.network import Network
from utils.arithmetic import allow_tf32, autocast, for_decision, has_float64, parameter_dtype
from utils.errors import InputError
from utils.memory import has_own_memory
from utils.progress import Progress
from utils.signals import handling_stop_signals

log = logging.getLogger(__name__)

DISPLAY_SECONDS = 0.25  # between two displays of the progress of a GPU


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


def run_fingerprint(datasets: Sequence[AVEDataset], ranks: Ranks) -> dict[str, Any]:
    """Fingerprint of everything besides the config that affects the results. Resuming checks it."""
    return {"data": [dataset.fingerprint() for dataset in datasets], "processes": ranks.world_size}


class Trainer:
    """Trains a network and keeps its best epoch.

    Args:
        model: on ``device``, in the dtype of the precision.
        run: the opened run folder; None on ranks that do not write.
        class_names: of the events, for the checkpoints.
        save_seconds: time between writes of ``last.pth.tar``, which is also written at the end.
        cuda_graph: whether to replay steps of full batches and evaluations as CUDA graphs where ``can_capture``.
        extraction: the settings of ``tools.extract_features`` that made the features, for the checkpoints.
    """

    def __init__(
        self,
        model: Network,
        config: Config,
        feeds: Feeds,
        run: RunFolder | None,
        class_names: list[str],
        device: torch.device,
        save_seconds: float,
        ranks: Ranks,
        cuda_graph: bool,
        extraction: dict[str, Any] | None = None,
    ) -> None:
        self.model, self.config, self.feeds, self.run = model, config, feeds, run
        self.device, self.save_seconds, self.ranks = device, save_seconds, ranks
        self.origin = Origin(class_names, feeds.train.dataset.num_segments, extraction or {})
        self.network = ranks.wrap(model, device)
        # Several processes average the gradients of the weights themselves.
        products = model.products() if config.training.precision == "bf16" and ranks.world_size == 1 else {}
        self.bfloat16_weights = BFloat16Weights(model, products) if products else None
        # Replays have the results of launches to the last bit, so a run may be resumed with or without them.
        captures = cuda_graph and can_capture(device, ranks)
        self.captured_step = CapturedCall(device) if captures else None
        self.captured_batches = CapturedBatches(device) if captures else None
        self.writer = BackgroundWriter()
        self.fingerprint = run_fingerprint([feed.dataset for feed in feeds], ranks)
        training = config.training
        self.optimizer = Adam(model.parameters(), lr=float(training.lr), fused=True)
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(
            self.optimizer, list(training.lr_milestones), training.lr_factor
        )
        self.sums = EpochSums(device, ranks)
        # Whether all steps of the epoch were finite, and the number of steps before the first one that was not.
        self.all_finite, self.finite_steps = (torch.ones((), dtype=torch.int64, device=device) for _ in range(2))
        self.warned = False  # that the network learns nothing
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
        with handling_stop_signals(self._on_signal):
            while self.state.epoch <= self.config.training.n_epoch:
                self.train_epoch()
                self.finish_epoch()
            self.save_last()
            self.writer.finish()

    def train_epoch(self) -> None:
        """Train on the remaining batches of the epoch."""
        state, training, feed = self.state, self.config.training, self.feeds.train
        allow_tf32(True)
        self.model.train()
        self.sums.restart(state.sums)
        self.all_finite.fill_(1)
        self.finite_steps.fill_(state.iteration)
        self.began = time.monotonic() - state.seconds

        # A display waits for the GPU. Several processes, which wait for one another, need the same ones.
        pause = DISPLAY_SECONDS if self.device.type != "cpu" and self.ranks.world_size == 1 else 0
        progress = Progress(f"epoch {state.epoch}/{training.n_epoch}", training.print_freq, pause)
        batches = feed.epoch(state.epoch, start=state.iteration)
        for batch in progress.track(batches, total=len(feed), start=state.iteration):
            self.step(batch)
            state.iteration += 1
            if progress.due:
                self.check_finite()  # waits for the device, so that the time includes its work
            state.seconds = time.monotonic() - self.began
            if progress.due:
                progress.notes = self._notes()
            # Ranks decide together whether to save or stop, which makes them wait for one another. Several GPUs do so
            # only when progress is due, because they exchange sums then anyway. CPUs do so after every step: a step is
            # long there, and torchrun kills a rank that has not stopped 30 s after a signal.
            if self.ranks.world_size == 1 or progress.due or self.device.type == "cpu":
                self.save_or_stop()

    def step(self, batch: Batch) -> None:
        """Train on a batch, as a replay of a CUDA graph if that is enabled. Waits only for a device without float64."""
        at_once = has_own_memory(self.device)
        inputs = [tensor.to(self.device, non_blocking=at_once) for tensor in batch]
        lr = self.schedule.get_last_lr()[0] * self.warmup_share()
        if self.captured_step or self.device.type == "cuda":
            # A replay reads the learning rate from a tensor, of float32 for the fused optimizer. Launches do the same.
            inputs.append(torch.full((), lr, dtype=torch.float32, device=self.device))
        else:
            inputs.append(lr)
        share, whole = self.feeds.train.batches.sizes(self.state.iteration)
        update = partial(self.update, share=share, whole=whole)
        if self.captured_step and share == self.feeds.train.batches.largest_share:  # the small last batch has no graph
            self.captured_step(update, inputs)
        else:
            update(*inputs)
        self.optimizer.param_groups[0]["lr"] = lr  # a number again, for checkpoints and metrics

    @property
    def steps(self) -> int:
        """Updates of the run so far."""
        return (self.state.epoch - 1) * len(self.feeds.train) + self.state.iteration

    def warmup_share(self) -> float:
        """The share of the learning rate that the next update has: less than 1 in the first ``warmup_steps``."""
        return min(1.0, (self.steps + 1) / max(1, self.config.training.warmup_steps))

    def update(self, visual: Tensor, audio: Tensor, labels: Tensor, lr: float | Tensor, share: int, whole: int) -> None:
        """Update the parameters once, and the sums of the epoch.

        All that outlives the call is changed in place, and the learning rate may be a tensor, so that a CUDA graph can
        replay it.

        Args:
            visual, audio, labels: a batch, on the device.
            lr: the learning rate; as a tensor, float32 and on the device.
            share, whole: the number of videos of this rank, and over all ranks.
        """
        dtype = parameter_dtype(self.config.training.precision)
        visual, audio, labels = visual.to(dtype), audio.to(dtype), labels.to(dtype)
        self.optimizer.zero_grad()
        with autocast(self.device, self.config.training.precision):
            outputs = (self.bfloat16_weights or self.network)(visual, audio)
            terms = self.model.loss(outputs, labels)

        # With this weight, the gradient averaged over ranks is the gradient of the mean over the whole batch.
        # A gradient given to ``backward`` would do the same, after a second in which it imports sympy.
        weight = self.ranks.world_size * share / whole
        (terms["loss"] if weight == 1 else terms["loss"] * weight).backward()
        if self.bfloat16_weights:
            self.bfloat16_weights.move_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.training.clip_gradient)
        checked = terms["loss"] + norm
        not_finite = (checked - checked).isnan()  # inf - inf is nan
        # A fused optimizer skips its update if found_inf is 1.
        self.optimizer.found_inf = self.ranks.all_reduce_max(not_finite.to(torch.float32))
        self.all_finite.mul_(self.optimizer.found_inf == 0)
        self.finite_steps.add_(self.all_finite)
        capturing = self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        self.optimizer.param_groups[0].update(lr=lr, capturable=capturing)  # or it refuses to be captured
        # The fused optimizer of MPS, which has no float64 either, does not look at found_inf.
        if has_float64(self.device) or not self.optimizer.found_inf:
            self.optimizer.step()
        self.sums.add(terms, self.correct(*for_decision((outputs, labels)))[:share], share)

    def correct(self, outputs: NamedTuple, labels: Tensor) -> Tensor:
        """Whether the decision on each segment (b, t), or each video (b,), agrees with its one-hot training label."""
        decisions, truth = self.model.decisions(outputs), labels.argmax(dim=-1)
        if truth.ndim == 1:  # segments have no labels
            return decisions.of_videos.argmax(dim=-1) == truth
        return decisions.classes(self.config.training.event_threshold, labels.shape[-1] - 1) == truth

    def finish_epoch(self) -> None:
        """Evaluate the epoch, record its metrics and save its weights if it is the best so far."""
        state, training = self.state, self.config.training
        self.check_finite()
        state.seconds = time.monotonic() - self.began
        means = self.sums.means()
        log.info("epoch %d/%d: %s", state.epoch, training.n_epoch, self._notes())
        accuracies: dict[str, float | None] = {"val_accuracy": None, "test_accuracy": None}
        measures: dict[str, Measures | None] = {"val": None, "test": None}
        if state.epoch % training.eval_freq == 0 or state.epoch == training.n_epoch:
            evaluations = {split: self.evaluate(split) for split in ("val", "test")}
            self.warn_of_no_learning(evaluations["val"])
            measures = {split: self.measure(split, each) for split, each in evaluations.items()}
            accuracies = {f"{split}_accuracy": values.accuracy for split, values in measures.items()}
            self._note_best({**accuracies, "val_named": measures["val"].named})
        columns = {**as_columns("val", measures["val"]), **as_columns("test", measures["test"])}
        videos_per_second = self._videos_per_second()  # on all ranks, which add up their sums
        if self.run:
            self.run.record(
                {
                    "epoch": state.epoch,
                    **{name: value for name, value in means.items() if name != "accuracy"},
                    "train_accuracy": means["accuracy"],
                    **accuracies,
                    "lr": self.optimizer.param_groups[0]["lr"],
                    "seconds": round(state.seconds, 3),
                    "videos_per_s": round(videos_per_second, 2),
                    **columns,
                }
            )
        if self.best.epoch == state.epoch:
            self._save_best({**accuracies, **columns})
        self.optimizer.param_groups[0]["lr"] = self.schedule.get_last_lr()[0]  # from which the schedule goes on
        self.schedule.step()
        best = {f"best_on_{each}": getattr(state, f"best_on_{each}") for each in SELECTIONS}
        self.state = TrainingState(state.epoch + 1, **best)
        self.save_or_stop()

    def _note_best(self, figures: dict[str, float]) -> None:
        """Give the epoch and its figures to each selection whose score it raises."""
        for best, score in (
            (self.state.best_on_val, "val_accuracy"),
            (self.state.best_on_test, "test_accuracy"),
            (self.state.best_on_names, "val_named"),
        ):
            if figures[score] > getattr(best, score):
                vars(best).update(figures, epoch=self.state.epoch)

    def evaluate(self, split: str) -> Evaluation:
        """Predict a split."""
        progress = Progress(f"evaluating {split}", print_freq=1 << 62)
        training = self.config.training
        evaluation = evaluate(
            self.model,
            getattr(self.feeds, split),
            self.device,
            training.precision,
            training.event_threshold,
            progress,
            self.ranks,
            batches_captured=self.captured_batches,
        )
        self.save_or_stop()
        return evaluation

    def warn_of_no_learning(self, evaluation: Evaluation) -> None:
        """Warn once if the network names the videos of val no better than chance."""
        if not self.warned and learns_nothing(evaluation, self.steps):
            self.warned = True
            log.warning(
                "warning: after %d steps, the network names no more videos of val right than one guess for all of them "
                "would: it learns nothing. Try a smaller --lr, --warmup_steps 100, or batches larger than %d",
                *(self.steps, self.config.training.batch_size),
            )

    def measure(self, split: str, evaluation: Evaluation) -> Measures:
        """Measure and log the predictions of a split."""
        measures = evaluation.measures()
        figures = {
            "Localization AUC {:.3f}": measures.auc,
            "{:.1f} % of background seconds right": measures.background_recall,
        }
        known = ", ".join(form.format(value) for form, value in figures.items() if not math.isnan(value))
        log.info("%s: %s %s", split, result_line(measures.accuracy), known)
        return measures

    @property
    def best(self) -> BestEpoch:
        """The best epoch so far by the figure that the config selects on."""
        return getattr(self.state, f"best_on_{self.config.training.select}")

    def check_finite(self) -> None:
        """Stop the run if an update was skipped, or has made the weights infinite.

        Raises:
            InputError: names the epoch, the iteration and the rows of the batch.
        """
        iteration = int(self.finite_steps)
        if iteration == self.state.iteration:
            if not torch.nn.utils.get_total_norm(self.model.parameters(), norm_type=math.inf).isfinite():
                raise InputError(
                    f"the weights are not finite in epoch {self.state.epoch}, iteration {self.state.iteration}: "
                    "use a smaller --lr"
                )
            return
        batch = self.feeds.train.batches.whole()[iteration]
        rows = self.feeds.train.dataset.describe_rows(batch, most=len(batch))
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
        if self.device.type != "cpu":
            random[self.device.type] = torch.get_device_module(self.device).get_rng_state(self.device)
        training = {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "state": asdict(self.state),
            "random": self.ranks.all_gather(random),
            **self.fingerprint,
        }
        if self.run:
            scores = {"epoch": self.state.epoch - 1}  # the last finished one
            contents = checkpoint_contents(self.model, self.config, self.origin, scores, training)
            self.writer.save(self.run.last, contents)
        self.can_resume, self.saved_at = True, time.monotonic()

    def _save_best(self, measures: Mapping[str, float | None]) -> None:
        """Write ``best.pth.tar``."""
        if not self.can_resume:  # or a run that is killed soon has a best epoch and cannot be resumed
            self.save_last()
        if self.run:
            scores = {"epoch": self.state.epoch, **measures}
            self.writer.save(self.run.best, checkpoint_contents(self.model, self.config, self.origin, scores))

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
        try:
            self.optimizer.load_state_dict(training["optimizer"])
            self.schedule.load_state_dict(training["schedule"])
            random: dict[str, Tensor] = training["random"][self.ranks.rank]
            torch.set_rng_state(random["cpu"])
            if self.device.type != "cpu" and self.device.type in random:
                torch.get_device_module(self.device).set_rng_state(random[self.device.type], self.device)
            self.state = TrainingState.from_dict(training["state"])
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"the run cannot be resumed from this checkpoint: {error}") from error
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
