"""Puts the gate logits into the user's optimizer without upsetting its schedulers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MARK = "joint_pruning"  # key of our parameter group, which is in the state dict with it
ENOUGH_STEPS = 200  # of a search; a shorter search needs a higher rate
FASTEST = 10.0  # highest rate, in rates of a long search
REFUSED = {  # reasons why classes of torch.optim cannot train the logits
    "LBFGS": "takes only one group",
    "Muon": "takes only 2-D parameters",
    "SparseAdam": "takes only sparse gradients",
}
# Keys of a group whose optimizer scales the rates of all groups alike, and what it does.
SCALED = {
    "d": "scales the rates of all groups by one estimate (D-Adaptation)",
    "reps_rel": "takes all rates from the distance that parameters have moved",
}
OWN_CLIP = "beta2_decay"  # key of a group of torch.optim.Adafactor, in which d clips an update
RELATIVE = ("relative_step", "scale_parameter", "warmup_init")  # options by which lr is not obeyed
NO_OPTIMIZER = (
    "Expected an optimizer to train the gates with but configure_optimizers returned none. Return "
    "one, such as torch.optim.AdamW(self.parameters())."
)


def add_to_first(
    optimizers: Sequence[Optimizer], logits: Sequence[nn.Parameter], lr: float
) -> Optimizer:
    """Add the logits to the first optimizer that can train them, and return it.

    Logits that are a model's own may be in an optimizer already; they stay in that one.

    Args:
        optimizers: any number.
        logits: the gate logits.
        lr: their learning rate, above 0.

    Raises:
        ValueError: if none can, or there is none; says why the first cannot.
    """
    if not optimizers:
        raise ValueError(NO_OPTIMIZER)
    reasons = []
    ours = {id(parameter) for parameter in logits}
    holders = [
        optimizer
        for optimizer in optimizers
        if any(
            id(parameter) in ours
            for group in optimizer.param_groups
            for parameter in group["params"]
        )
    ]
    for optimizer in holders[:1] or optimizers:
        try:
            add_logits(optimizer, logits, lr)
        except ValueError as reason:
            reasons.append(reason)
        else:
            for other in holders[1:]:
                _take_out(other, logits)
            return optimizer
    raise reasons[0]


def add_logits(optimizer: Optimizer, logits: Sequence[nn.Parameter], lr: float) -> None:
    """Add the logits to an optimizer as a parameter group of their own.

    The group has its own learning rate, no weight decay, and is the last one; logits that were in a
    group of the user's leave that. A state that was saved without our group can still be loaded: it
    then starts afresh, or where the user's group was.

    Args:
        optimizer: any optimizer with parameter groups.
        logits: the gate logits.
        lr: their learning rate, above 0.

    Raises:
        ValueError: if the optimizer cannot train such a group, or is none.
    """
    for name, why in _reasons(optimizer):
        raise ValueError(
            f"Expected an optimizer that can train one more group, of the gates, but got "
            f"{name}, which {why}. Train with Adam, AdamW or SGD, or return one of them too."
        )
    if optimizer.defaults.get("maximize"):
        raise ValueError(
            "Expected an optimizer that minimizes, since the gates' price is a loss, but got "
            "maximize=True. Leave it out, and return the negative of what is maximized."
        )
    taken = _take_out(optimizer, logits)
    named = any("param_names" in group for group in optimizer.param_groups)  # all are or none
    params = [(f"{MARK}.{i}", p) for i, p in enumerate(logits)] if named else list(logits)
    ours = {"params": params, "lr": lr, "weight_decay": 0.0, MARK: True}
    groups = optimizer.param_groups
    ours |= {key: False for key in RELATIVE if any(key in group for group in groups)}
    if any("initial_lr" in group for group in optimizer.param_groups):
        ours["initial_lr"] = lr  # a scheduler has given one to each, and some loops read it
    optimizer.add_param_group(ours)
    if logit_group(optimizer, logits) is None:  # Lightning's stand-in, that does nothing
        raise ValueError(NO_OPTIMIZER)
    optimizer.register_load_state_dict_pre_hook(partial(_accept_plain_state, taken))


def logit_group(optimizer: Optimizer, logits: Sequence[nn.Parameter]) -> dict[str, Any] | None:
    """Return the parameter group of these logits, or None where the optimizer has none."""
    groups = (group for group in optimizer.param_groups if group.get(MARK))
    return next((group for group in groups if group["params"][0] is logits[0]), None)


def hold_rate(optimizer: Optimizer, logits: Sequence[nn.Parameter], rate: float | None) -> bool:
    """Give these logits their rate again, which others set with those of all groups.

    Args:
        optimizer: about to step.
        logits: whose group it is.
        rate: above 0; None leaves the rate that there is.

    Returns:
        Whether the optimizer has these logits.
    """
    group = logit_group(optimizer, logits)
    if group is not None and rate is not None:
        group["lr"] = rate
    return group is not None


def forget(optimizers: Sequence[Optimizer], logits: Sequence[nn.Parameter]) -> None:
    """Let optimizers forget what they know of logits that are frozen.

    Some would still move them without a gradient, as schedule-free ones do around a validation.
    """
    for optimizer in optimizers:
        for logit in logits:
            optimizer.state.pop(logit, None)


@contextmanager
def without_logits(optimizer: Optimizer, schedulers: Callable[[], Sequence[Any]]) -> Iterator[None]:
    """Leave an optimizer to the user's groups for a while; the logits' are its last ones after.

    Args:
        optimizer: with the logits among its groups.
        schedulers: those there are by then; none of them is to see the logits' group.
    """
    ours = [group for group in optimizer.param_groups if group.get(MARK)]
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if not group.get(MARK)]
    try:
        yield
    finally:
        for group in ours:  # a callback that unfreezes a whole module has added our logits
            _take_out(optimizer, group["params"])
        optimizer.param_groups.extend(ours)
        for scheduler in schedulers():
            hide_logits(scheduler, optimizer)


def rate_in(
    optimizers: Sequence[Optimizer], logits: Sequence[nn.Parameter], price: float, steps: float
) -> float | None:
    """Return the `gate_rate` of the group that the logits are in; None if they are in none."""
    groups = (logit_group(optimizer, logits) for optimizer in optimizers)
    return next((gate_rate(group, price, steps) for group in groups if group), None)


def gate_rate(group: dict[str, Any], price: float, steps: float = math.inf) -> float:
    """Return the logits' learning rate that suits an optimizer and the length of the search.

    Adam and its kin divide by the size of the gradient, so a fixed rate moves a logit by about
    that much per step; Adagrad and Adadelta need a higher one. Plain SGD does not divide: with the
    rate `0.5 (1 - momentum) / price` the price alone moves a logit by `0.5 p (1 - p)` per step, `p`
    being its keep probability. In a search of `n < 200` steps all of these are `(200 / n)**2` times
    as high, at most ten times: half of it, in which `TargetJoints` closes joints, has to move a
    logit by 3, and the network has to learn from the joints that are left.

    Args:
        group: a parameter group of the optimizer.
        price: λ, in units of the loss.
        steps: optimizer steps of the search.

    Returns:
        The learning rate.
    """
    faster = max(1.0, ENOUGH_STEPS / max(1.0, steps)) ** 2
    return min(FASTEST, faster) * _long_rate(group, price)


def _long_rate(group: dict[str, Any], price: float) -> float:
    """Return the rate in a search that is long enough."""
    if "rho" in group:  # Adadelta begins with steps of about lr / 1000
        return 30.0
    if "initial_accumulator_value" in group or "lr_decay" in group:  # Adagrad slows down
        return 0.3
    plain = "lambd" in group or ("momentum" in group and "alpha" not in group)  # ASGD and SGD
    if not plain or price <= 0.0:
        return 0.05
    return 0.5 * (1.0 - float(group.get("momentum", 0.0))) / price


class UserGroups:
    """Shows an optimizer to its schedulers with the user's parameter groups alone.

    Schedulers keep one base rate per group and match them strictly, so a group that comes later
    would break some and get a wrong rate from others. They change rates in the group dicts, which
    are the optimizer's own here.

    Args:
        optimizer: the optimizer to look at.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Return the groups without the logits'."""
        return [group for group in self._optimizer.param_groups if not group.get(MARK)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)

    def __eq__(self, other: object) -> bool:  # it passes for the optimizer
        return other is self or other is self._optimizer

    def __hash__(self) -> int:
        return hash(self._optimizer)

    def __reduce__(self) -> tuple[Any, ...]:  # copying asks for the class, which is another
        return UserGroups, (self._optimizer,)

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # the real type, for a monitor that names it, say
        return type(self._optimizer)


def hide_logits(scheduler: Any, optimizer: Optimizer) -> None:
    """Let a scheduler, and those inside it, see the optimizer without the logits' group.

    Args:
        scheduler: a learning rate scheduler, also a chained or sequential one.
        optimizer: the optimizer whose logits to hide.
    """
    inner = getattr(scheduler, "_schedulers", ())
    for seeing in (scheduler, *inner):
        if getattr(seeing, "optimizer", None) is optimizer:
            seeing.optimizer = UserGroups(optimizer)
    for nested in inner:
        hide_logits(nested, optimizer)


class GradientShelter:
    """Keeps the logits' gradients from being clipped with the model's.

    Clipping by norm shares one budget among all groups of an optimizer, so the logits would take
    from the model's. Between `hide` and the optimizer's step they have no gradient.

    Args:
        optimizer: with the logits among its groups; None where there is none yet.
        logits: the gate logits.
    """

    def __init__(
        self, optimizer: Optimizer | None = None, logits: Sequence[nn.Parameter] = ()
    ) -> None:
        self._logits = logits
        self._hidden: list[Tensor | None] | None = None
        if optimizer is not None:
            optimizer.register_step_pre_hook(self._before_step)

    def hide(self) -> None:
        """Take the gradients away until the next step; what was hidden before is forgotten."""
        self._hidden = [parameter.grad for parameter in self._logits]
        for parameter in self._logits:
            parameter.grad = None

    def _give_back(self) -> None:
        if self._hidden is not None:
            for parameter, grad in zip(self._logits, self._hidden, strict=True):
                parameter.grad = grad
            self._hidden = None

    def _before_step(
        self, _optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._give_back()
            return None

        def wrapped() -> Any:  # Lightning clips at the end of the closure, within the step
            result = closure()
            self._give_back()
            return result

        return args[:1], {**kwargs, "closure": wrapped}


def add_penalty_gradient(
    logits: Sequence[nn.Parameter], probabilities: Tensor, slope: Tensor
) -> None:
    """Add the gradient of the penalty to that of the logits.

    A gradient that is not finite counts as none: a bad batch must not poison the gates.

    Args:
        logits: the gate logits; those without a gradient are passed over.
        probabilities: a function of the logits, any shape.
        slope: of the penalty, in units of the loss, by each of these; the same shape.
    """
    trained = [(p, p.grad) for p in logits if p.grad is not None]
    slopes = torch.autograd.grad(probabilities, [p for p, _ in trained], slope)
    for (parameter, grad), added in zip(trained, slopes, strict=True):
        parameter.grad = torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0) + added


def _reasons(optimizer: Optimizer) -> Iterator[tuple[str, str]]:
    """Yield the name of an optimizer that cannot train the logits with each reason why."""
    for name, why in REFUSED.items():
        if isinstance(optimizer, getattr(torch.optim, name, ())):  # () where torch is older
            yield name, why
    for group in optimizer.param_groups:
        for key, why in SCALED.items():
            if key in group and OWN_CLIP not in group:
                yield type(optimizer).__name__, why
        if group.get("lr") is None and "relative_step" not in group:
            yield type(optimizer).__name__, "has no learning rate"


def _take_out(optimizer: Optimizer, logits: Sequence[nn.Parameter]) -> list[tuple[int, int] | None]:
    """Take the logits out of the groups they are in; return the group and the place of each.

    A group that is left empty stays, since schedulers count it.
    """
    places = {
        id(parameter): (number, place)
        for number, group in enumerate(optimizer.param_groups)
        for place, parameter in enumerate(group["params"])
    }
    taken = [places.get(id(parameter)) for parameter in logits]
    for number, group in enumerate(optimizer.param_groups):
        gone = [at[1] for at in taken if at and at[0] == number]
        for name in ("params", "param_names"):
            if gone and name in group:
                group[name] = [item for at, item in enumerate(group[name]) if at not in gone]
    return taken


def _accept_plain_state(
    taken: Sequence[tuple[int, int] | None], optimizer: Optimizer, state: dict[str, Any]
) -> dict[str, Any] | None:
    """Add our groups, which are the last ones, to a state that was saved without any."""
    saved = state["param_groups"]
    ours = [group for group in optimizer.param_groups if group.get(MARK)]
    if len(saved) != len(optimizer.param_groups) - len(ours):
        return None
    new = itertools.count(sum(len(group["params"]) for group in saved))
    old = [saved[at[0]]["params"][at[1]] if at else next(new) for at in taken]
    users = [{**group, "params": [n for n in group["params"] if n not in old]} for group in saved]
    for group in ours:  # several only where none was in a group of the user's
        numbers = old if any(taken) else [next(new) for _ in group["params"]]
        users.append({**group, "params": numbers})
    return {**state, "param_groups": users}
