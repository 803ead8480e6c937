"""The notebook runs from its first cell to its last, and finds the joints that carry the sign."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from tests.runs import SHORT_RUNS

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "first_look.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = {cell["id"]: cell for cell in CELLS if cell["cell_type"] == "code"}
PLANTED = {"left_hand_index_finger_tip", "right_hand_thumb_tip"}
pytestmark = SHORT_RUNS


def shown(source: str, namespace: dict[str, Any]) -> Any:
    """Run a cell; returns what a notebook would show below it."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), NOTEBOOK.name, "exec"), namespace)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), namespace)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the notebook, and return what each cell shows by its id."""
    namespace: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("notebook"))
        found = {name: shown("".join(cell["source"]), namespace) for name, cell in CODE.items()}
    return {**found, "kept": set(namespace["callback"].selection.names)}


def test_it_finds_the_joints_that_carry_the_sign(outputs: dict[str, Any]) -> None:
    assert outputs["kept"] == PLANTED
    assert outputs["train"].startswith("With 2 of 42 joints")


def test_it_shows_figures_with_something_in_them(outputs: dict[str, Any]) -> None:
    figures = {name: out for name, out in outputs.items() if isinstance(out, go.Figure)}
    assert set(figures) == {"curve", "skeleton", "importance", "history", "classes"}
    assert all(figure.data for figure in figures.values())


def test_without_a_joint_half_of_the_signs_are_guessed(outputs: dict[str, Any]) -> None:
    costs = {name: float(text.split()[0]) for name, text in outputs["worth"].items()}
    assert costs == pytest.approx(dict.fromkeys(PLANTED, 0.5), abs=0.1)


# --- as it is stored, for who reads it without running it ----------------------------------------


def stored(name: str) -> dict[str, Any]:
    """Return what a cell shows in the file, by kind."""
    return {
        kind: data for out in CODE[name]["outputs"] for kind, data in out.get("data", {}).items()
    }


def test_it_is_stored_as_run_from_top_to_bottom() -> None:
    assert [cell["execution_count"] for cell in CODE.values()] == [*range(1, len(CODE) + 1)]
    assert not [out for cell in CODE.values() for out in cell["outputs"] if "ename" in out]


def test_every_cell_that_shows_something_is_stored_with_it(outputs: dict[str, Any]) -> None:
    for name in CODE:
        found = stored(name)
        if isinstance(outputs[name], go.Figure):
            drawn = found["application/vnd.plotly.v1+json"]  # in Jupyter
            assert len(drawn["data"]) == len(outputs[name].data)
            assert found["image/png"].startswith("iVBORw0KGgo")  # on GitHub
        elif outputs[name] is None:
            assert not found
        else:
            assert "text/plain" in found
    assert "With 2 of 42 joints" in "".join(stored("train")["text/plain"])
    assert all(name in "".join(stored("worth")["text/plain"]) for name in PLANTED)


def test_its_outputs_name_no_place_of_a_machine_and_are_small() -> None:
    outputs = json.dumps([cell["outputs"] for cell in CODE.values()])
    text = re.sub(r'"image/png": "[^"]*"', "", outputs)
    assert not re.findall(
        r"/(?:home|root|tmp|usr|opt|mnt|Users|var)/|site-packages|[A-Z]:\\\\", text
    )
    assert NOTEBOOK.stat().st_size < 1_500_000
