"""Monitor: a network while it trains. It reads, judges and keeps, and never raises into the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netassay import verdicts
from netassay.flow import SIGNALS, UPDATES, Readings
from netassay.result import Result, Verdict
from netassay.watching.alarms import Alarms, bad_loss, not_finite
from netassay.watching.asked import check, once, optimizers_of
from netassay.watching.guard import Guard
from netassay.watching.keeping import Keep, Keeping
from netassay.watching.reader import Reader
from netassay.watching.sampling import Sampler
from netassay.watching.scaling import Scaling
from netassay.watching.series import Row, Series
from netassay.watching.state import load, readings, state
from netassay.watching.updates import Updates
from netassay.watching.windows import Window


class Monitor:
    """Watches a training from its hooks: the model's forward passes, their gradients, the optimizers' steps.

    A window is what lies between two rounds of steps: forward and backward passes, then a step of every optimizer (of
    some of them, where a further forward pass comes first). `reduction` says whether each step's loss is a mean over
    its samples ("mean") or a sum. `every` and `budget`: see `Sampler`. `on_verdict(verdict)` is called at once with
    each new finding or warning; `keep` is told each step read; `on_exit(monitor, error)` is called once all hooks are
    gone. `predicted` is the law that theory expects.

    Raises `BadInput` when it is made, for a model that cannot be watched or options that say nothing; never later: what
    fails while watching is in `faults`.

    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with Monitor(model, optimizer, every=1) as monitor:
    ...     loss = model(torch.ones(4, 2)).mean()
    ...     loss.backward()
    ...     optimizer.step()
    ...     monitor.step(loss)
    >>> readings = monitor.readings()
    >>> readings.steps.tolist(), readings.calls["layer"].tolist(), readings.signals["gradient"][0].round(6).tolist()
    ([0], ['input', 'model'], [nan, 1.0])
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        *,
        reduction: str = "mean",
        scaler: Any = None,
        layers: str | Sequence[str] | None = None,
        every: int = 10,
        budget: str | float | None = None,
        on_verdict: Callable[[Verdict], Any] | None = None,
        keep: Keep | None = None,
        on_exit: Callable[[Monitor, BaseException | None], Any] | None = None,
        predicted: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        check(model, reduction, scaler, on_verdict)
        self.guard = Guard()
        self.reduction, self.scaling = reduction, Scaling(scaler)
        self.sampler = Sampler(every, budget)
        self.reader = Reader(model, layers, on_begin=self._begins, guard=self.guard)
        several = optimizers_of(model, optimizers)
        self.updates = Updates(model, several, self.guard, self._stepping, self._stepped)
        self.series, self.alarms, self.keeping = Series(), Alarms(on_verdict), Keeping(keep)
        self.on_exit, self.predicted, self.ended = on_exit, predicted, False
        self.steps_done = self.skipped = self.epoch = 0
        self.closed_row: Row | None = None
        self.window: Window | None = None

    # Opening and closing.

    def open(self) -> Monitor:
        """Register the hooks; what is read before a `close` goes on where it was, unless it went to a run."""
        once(self.ended and self.keeping.keep is not None)
        try:
            self.sampler.start(self.guard.spent)
            self.reader.on = False
            self.reader.open()
            self.updates.open()
        except BaseException:
            self._let_go()
            raise
        return self

    def close(self, error: BaseException | None = None) -> None:
        """Close the open window, remove every hook, and hand over to `on_exit`, with what the training raised."""
        # A training that raised may have done so before its step, because of what was read: that is looked at, too.
        cut_off = error is not None and self.reader.samples > 0
        if self.window is not None and (self.window.stepped or cut_off):
            self.guard("window", self._close)
        self.guard("scaler", self._drop_skipped)
        self.guard("scaler", self._count_missed)
        self.window = None
        self._judge()
        self._let_go()
        self.guard("keep", self.keeping.flush)
        if self.on_exit is not None:
            self.guard("on_exit", self.on_exit, self, error)
        self.ended = True

    def _let_go(self) -> None:
        self.reader.close()
        self.updates.close()

    def __enter__(self) -> Monitor:
        return self.open()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close(error)

    # What the training calls.

    def step(self, loss: Any = None, epoch: int | None = None) -> None:
        """Note the loss of a step, before or after the optimizers' own steps; a tensor stays on its device."""
        self.guard("loss", self._note, loss, epoch)

    def _note(self, loss: Any, epoch: int | None) -> None:
        self.epoch = self.epoch if epoch is None else int(epoch)
        loss = loss.detach() if isinstance(loss, Tensor) else loss
        if self.window is not None:
            self.window.loss = loss
        elif self.closed_row is not None:
            self.closed_row.loss, self.closed_row.epoch = loss, self.epoch
            self._judge()
        if isinstance(loss, float | int) and not math.isfinite(loss):
            step = max(self.steps_done - (self.window is None), 0)
            self._tell([bad_loss(float(loss), step)], step)

    # What the hooks call.

    def _begins(self, differentiable: bool) -> None:
        if self.window is not None and self.window.stepped:
            self.guard("window", self._close)
        else:
            self._drop_skipped()
        self._judge()
        if self.guard.off & {"window", "optimizer"}:
            self.reader.turn(False)
        elif self.window is None and differentiable:
            self._open()

    def _open(self) -> None:
        self.window = Window(self.sampler.wants(self.steps_done, self.guard.spent), self.scaling.mark())
        self.updates.on = self.window.on
        self.reader.turn(self.window.on)

    def _drop_skipped(self) -> None:
        """Forget a window whose step the gradient scaler has left out."""
        if self.window is not None and self.scaling.left_out(self.window):
            self.window = None
            self.skipped += 1
            self.reader.drop()
            self.updates.drop()

    def _count_missed(self) -> None:
        missed = self.scaling.missed()
        self.skipped, self.steps_done = self.skipped + missed, self.steps_done - missed

    def _stepping(self, number: int) -> None:
        if self.window is None:
            self._open()
        if self.window is not None and not self.window.stepped:
            self.scaling.stepping(self.window, self.updates.optimizers[number])

    def _stepped(self, number: int) -> None:
        if self.window is None:
            return
        self.window.stepped.add(number)
        if len(self.window.stepped) == len(self.updates.optimizers):
            self._close()

    def _close(self) -> None:
        if self.window is not None and self.window.void:
            self._drop_skipped()
            return
        window, self.window = self.window, None
        if window is not None and window.on:
            self._count_missed()
        step, self.closed_row = self.steps_done, None
        self.steps_done += 1
        if window is None or not window.on:
            return
        samples = self.reader.samples
        scale = self.scaling.scale() if window.scale is None else window.scale
        factor = (samples if self.reduction == "mean" else 1) / scale
        signals, updates = self.reader.take(factor), self.updates.take()
        row = Row(step, self.epoch, window.loss, samples, _matrix(signals, SIGNALS), _matrix(updates, UPDATES))
        self.series.append(list(self.reader.plan.keys), row)
        self.closed_row = row
        self.guard("keep", self.keeping.row, row, self.reader.plan, self.updates.parameters)
        self.alarms.note(not_finite(signals) + not_finite(updates))

    def _judge(self) -> None:
        """Ask the rules where their turn has come: once the loss of the step is told, or else when the next begins."""
        if self.alarms.due:
            self.alarms.due = False
            step = self.series.rows[-1].step
            self.guard("verdicts", lambda: self._tell(verdicts.judge(self.readings()).verdicts, step))

    def _tell(self, found: Sequence[Verdict], step: int) -> None:
        for verdict in self.alarms.fresh(found, step):
            if self.alarms.on_verdict is not None:
                self.guard("on_verdict", self.alarms.on_verdict, verdict)

    # What is handed over.

    @property
    def faults(self) -> list[str]:
        """Sentences on what failed inside, each once."""
        return self.guard.faults

    def readings(self) -> Readings:
        """Return everything read so far."""
        return readings(self)

    def verdicts(self) -> tuple[Verdict, ...]:
        """Judge what was read so far; what was told on the way and is no longer found is among them, and says so."""
        return self.alarms.joined(verdicts.judge(self.readings()).verdicts)

    def result(self, notes: Sequence[str] = (), provenance: Mapping[str, Any] | None = None) -> Result:
        """Return tables, arrays and verdicts of what was read so far, those told on the way among them."""
        result = verdicts.judged_result(self.readings(), notes, provenance, self.predicted)
        return replace(result, verdicts=self.alarms.joined(result.verdicts))

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run goes on from, as plain tensors, lists and numbers."""
        return state(self)

    def load_state_dict(self, kept: Mapping[str, Any]) -> None:
        """Go on from a state; the steps continue with its numbers."""
        load(self, kept)


def _matrix(told: Mapping[str, np.ndarray], names: Mapping[str, str]) -> np.ndarray:
    return np.stack([told[name] for name in names])
