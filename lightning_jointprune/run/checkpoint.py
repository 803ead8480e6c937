"""What a checkpoint holds of a run, for who resumes it or puts its mask in front of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_jointprune.run.settings import Settings
from lightning_jointprune.search.search import JointSearch

STATE_KEY = "JointPruningCallback"
STATE_SCHEMA = 2  # of what a checkpoint holds; higher with a change that older code cannot read


def make_state(settings: Settings, search: JointSearch) -> dict[str, Any]:
    """What a checkpoint holds for whoever puts its mask in front of a model again.

    Args:
        settings: the callback's.
        search: whose mask it is.
    """
    return {
        "schema": STATE_SCHEMA,
        "joint_names": list(settings.joint_names),
        "mask": search.mask(),
        "keep_probabilities": search.layer.keep_probabilities().tolist(),
        "search": search.state_dict(),
    }


def find_state(checkpoint: Mapping[str, Any], state_key: str) -> Mapping[str, Any] | None:
    """The callback's state in a checkpoint: that of its key, else the only one there is.

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


def check_state(state: Mapping[str, Any], settings: Settings, resumed: bool) -> None:
    """Make sure that a checkpoint's state is of the same joints, and to resume, of the same search.

    Args:
        state: what the callback saved.
        settings: the callback's own.
        resumed: whether training goes on from there.

    Raises:
        ValueError: if it is not; both sides are named.
    """
    saved, names = state["joint_names"], list(settings.joint_names)
    if saved != names:
        pairs = enumerate(zip(saved, names, strict=False))
        other = next((f", in which joint {i} is {a}, not {b}" for i, (a, b) in pairs if a != b), "")
        raise ValueError(
            f"Expected a checkpoint of {len(names)} joints ({names[0]} ... {names[-1]}) but got "
            f"one of {len(saved)} ({saved[0]} ... {saved[-1]}){other}. Pass the num_joints or "
            "skeleton that it was trained with."
        )
    then, now = state["journal"]["settings"], settings.as_plain()
    for name in sorted(now.keys() - {"input", "axes"}) if resumed else ():
        if then[name] != now[name]:
            raise ValueError(
                f"Expected a checkpoint of a search with {name}={now[name]!r} but got one with "
                f"{name}={then[name]!r}. Resume with that, or start a new run from its weights."
            )
