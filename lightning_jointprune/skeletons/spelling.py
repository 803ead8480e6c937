"""Proposes the known names that a name which is unknown may stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

ALIKE = 0.8  # least likeness of a word, or of a whole name, to one that it may stand for, 0 to 1
SAME = 0.9  # the same of a whole name that is proposed alone
PROPOSED = 4  # largest number of names that are proposed for one that is unknown


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that a name may stand for: a few that are equally near, or none.

    Those that have all its words, in any order, come before those that are spelled alike.

    >>> near_names("wrist", ["pose_nose", "left_wrist", "right_wrist"])
    ['left_wrist', 'right_wrist']
    >>> near_names("hand_body", ["hand", "body_hands", "body_face_hands"])
    ['body_hands']
    """
    wanted, choice = _words(name), list(dict.fromkeys(known))
    nearness: dict[str, tuple[float, ...]] = {}
    for other in choice:
        words = _words(other)
        alike = [max((_likeness(word, own) for own in words), default=0.0) for word in wanted]
        if alike and min(alike) >= ALIKE:
            nearness[other] = (min(alike), -len(words))
    if not nearness:
        return _closest(name, choice, ALIKE)
    best = max(nearness.values())
    near = [other for other, nearest in nearness.items() if nearest == best]
    return _closest(name, near, SAME) or near[:PROPOSED]


def _closest(name: str, known: Iterable[str], least: float) -> list[str]:
    """Return the name that is spelled most alike, if it is at least so much alike."""
    whole = {other: _likeness(name.lower(), other.lower()) for other in known}
    closest = max(whole, key=lambda other: whole[other], default="")
    return [closest] if whole.get(closest, 0.0) >= least else []


def _words(name: str) -> set[str]:
    """Return the words of a name in the singular; a change from letters to digits ends one.

    >>> sorted(_words("LeftHands-coco17"))
    ['17', 'coco', 'hand', 'left']
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return {word.removesuffix("s") for word in re.findall(r"[^\W\d_]+|\d+", spaced)}


def _likeness(first: str, second: str) -> float:
    return 1.0 if first == second else SequenceMatcher(None, first, second).ratio()
