"""Makes, finds and checks the pruning state in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_jointprune.record.stored import class_of

STATE_KEY = "JointPruningCallback"
STATE_SCHEMA = 2  # version of the state; higher with a change that older code cannot read


def make_state(
    joint_names: Sequence[str],
    mask: Sequence[bool],
    keep_probabilities: Sequence[float],
    **parts: Any,
) -> dict[str, Any]:
    """Return the state that a checkpoint holds.

    Args:
        joint_names: names of all joints, shape `(J,)`.
        mask: the kept joints, shape `(J,)`.
        keep_probabilities: shape `(J,)`.
        **parts: what it takes to go on from there, by name.
    """
    return {
        "schema": STATE_SCHEMA,
        "joint_names": list(joint_names),
        "mask": list(mask),
        "keep_probabilities": list(keep_probabilities),
        **parts,
    }


def find_state(checkpoint: Mapping[str, Any], state_key: str) -> Mapping[str, Any] | None:
    """Return the callback's state in a checkpoint: that of its key, else the only one there is.

    Args:
        checkpoint: a Lightning checkpoint.
        state_key: `STATE_KEY` with the callback's `input`, which may be given in other words.

    Returns:
        The state; None if the checkpoint has none.

    Raises:
        ValueError: if there are several and none has the key, or if it is of another schema.
    """
    saved = checkpoint.get("callbacks", {})
    states = {key: state for key, state in saved.items() if key.startswith(STATE_KEY)}
    if state_key not in states and len(states) > 1:
        raise ValueError(
            f"Expected a state of {state_key} in the checkpoint but got {', '.join(states)}. Pass "
            "the same input= as in the run that saved it."
        )
    state = states.get(state_key, next(iter(states.values()), None))
    if state is not None and state.get("schema") != STATE_SCHEMA:
        raise ValueError(
            f"Expected a checkpoint with a pruning state of schema {STATE_SCHEMA} but got "
            f"{state.get('schema')}. Read it with the version of lightning-jointprune that saved "
            "it, or begin a new run from its weights."
        )
    return state


def check_state(
    state: Mapping[str, Any], joint_names: Sequence[str], resumed: Mapping[str, Any] | None
) -> None:
    """Make sure that a checkpoint's state is of the same joints, and to resume, of the same search.

    Args:
        state: what the callback saved.
        joint_names: the callback's own, shape `(J,)`.
        resumed: its settings, as plain values, if training goes on from there; else None.

    Raises:
        ValueError: if it is not; both sides are named.
    """
    saved, names = state["joint_names"], list(joint_names)
    if saved != names:
        pairs = enumerate(zip(saved, names, strict=False))
        other = next((f", in which joint {i} is {a}, not {b}" for i, (a, b) in pairs if a != b), "")
        raise ValueError(
            f"Expected a checkpoint of {len(names)} joints ({names[0]} ... {names[-1]}) but got "
            f"one of {len(saved)} ({saved[0]} ... {saved[-1]}){other}. Pass the num_joints or "
            "skeleton that it was trained with."
        )
    if resumed is None:
        return
    then, now = state["journal"]["settings"], resumed
    for name in sorted(now.keys() - {"input", "axes"}):
        if _meant(then[name]) != _meant(now[name]):
            raise ValueError(
                f"Expected a checkpoint of a search with {name}={now[name]!r} but got one with "
                f"{name}={then[name]!r}. Resume with that, or start a new run from its weights."
            )


def _meant(argument: Any) -> Any:
    """Return an argument without the file that it is from, which may have been moved since."""
    name, given = class_of(argument)
    return {name: {**given, "source": None}} if "source" in given else argument
