"""A selection in words: one sentence for a paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_jointprune.record.record import JointSelection


def selection_sentence(selection: JointSelection, where: str) -> str:
    """One sentence with nothing that was not measured.

    Args:
        selection: the joints.
        where: such as `" on AUTSL"`, or empty.
    """
    kept, total, metric = len(selection.indices), selection.num_joints, selection.metric
    share = f"{kept} of {total} joints" if kept < total else f"all {total} joints"
    percent = f"{100 * selection.ratio:.1f}"
    article = "an" if percent[0] == "8" or percent[:3] in ("11.", "18.") else "a"
    cut = f"{article} {percent} % reduction" if kept < total else "no reduction"
    are = "is" if kept == 1 else "are"
    plain = f"{share[0].upper()}{share[1:]} {are} kept{where}, {cut}"
    value = selection.metrics.get(metric or "")
    if value is None:
        missing = f"{metric} was not measured" if metric else "no metric was measured"
        return f"{plain}; {missing} with them." if metric or not selection.metrics else f"{plain}."
    floor, better = selection.floor, selection.higher_is_better
    above, below = ("above", "below") if better else ("below", "above")
    if floor is not None:
        got, asked = beside_floor(value, floor, better)
        if value < floor if better else value > floor:
            limit = f"{below} the {'floor' if better else 'ceiling'} of {asked}"
            return f"{plain}, but with those joints alone {metric} is {got}, {limit}."
        if kept < total:
            stay = f"{'at' if value == floor else above} {asked} {metric}{where}"
            alone = f"({got} with those joints alone)"
            return f"Only {share} {are} needed to stay {stay} {alone}, {cut}."
    return f"With {share} the model reaches {metric} {show(value)}{where}, {cut}."


def show(value: float) -> str:
    """Return three decimals, or as many digits where these would be zeros."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3g}"


def beside_floor(value: float, floor: float, better: bool) -> tuple[str, str]:
    """Return a metric and its floor as text, with enough digits to see that they differ.

    Args:
        value: the metric.
        floor: in its units.
        better: whether higher values are better; then fractions are shown in per cent.
    """
    percent = better and 0 <= floor <= 1 and 0 <= value <= 1
    scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    for more in range(9):
        got, asked = round(scale * value, digits + more), float(f"{scale * floor:.{5 + more}g}")
        if (got > asked, got < asked) == (value > floor, value < floor):
            break
    return f"{got:.{digits + more}f}{unit}", f"{asked:.9g}{unit}"
