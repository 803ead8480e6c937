from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.asl_words import Plan, run
from tests.runs import SHORT_RUNS

pytestmark = SHORT_RUNS


def test_a_pruned_run_says_what_it_kept_and_a_new_model_is_trained_on_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    word = np.arange(160) % 2
    x = rng.standard_normal((160, 4, 75, 3), dtype=np.float32)
    x[word == 1, :, :20] += 3.0
    names = [f"joint_{joint}" for joint in range(75)]
    np.savez(
        tmp_path / "words.npz",
        x=x,
        y=word,
        test=np.arange(160) >= 120,
        session=np.repeat("a session", 160),
        word=np.ones(160, dtype=bool),
        joint_names=names,
    )
    plan = Plan("gru", epochs=10)

    pruned = run(tmp_path / "words.npz", plan.cell(seed=0, pruned=True))
    assert 0 < len(pruned["kept"]) < 75
    assert pruned["names"] == [names[joint] for joint in pruned["kept"]]
    assert len(pruned["keep_probabilities"]) == 75
    new = run(tmp_path / "words.npz", plan.cell(0, pruned["kept"]))
    assert set(new) == {"accuracy"}
    assert 0.0 <= new["accuracy"] <= 1.0
