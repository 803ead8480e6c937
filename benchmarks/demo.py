"""Does the example find the joints that its synthetic signs were made from?

    python -m benchmarks.demo --workers 2

Seed 0 is the demo itself, as `make demo` runs it; each other seed draws its own data, planted
joints included, and its own weights. A run takes some minutes, one thread each.
`python -m benchmarks.report_results` writes the results into RESULTS.md.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import warnings
from pathlib import Path
from statistics import fmean

from benchmarks.shared.rows import Figure, Row, at_least, f1, measure, parser, results, spread
from benchmarks.shared.store import Result, Settings, Store

DEMO_SEED = 7  # the example's default, for its data and its weights


def run(settings: Settings) -> Result:
    from examples import autsl_fusion

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (".*LightningCLI's args parameter.*", ".*tensorboardX.*", ".*LeafSpec.*"):
        warnings.filterwarnings("ignore", message=message)
    seed = DEMO_SEED + settings["seed"]
    with tempfile.TemporaryDirectory() as folder:
        flags = [
            f"--seed_everything={seed}",
            f"--datamodule.synthetic.seed={seed}",
            f"--datamodule.folder={folder}",
            f"--trainer.default_root_dir={folder}",
            "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false",
        ]
        with Path(os.devnull).open("w") as sink, contextlib.redirect_stdout(sink):
            cli = autsl_fusion.main(flags)
        planted = [autsl_fusion.JOINT_NAMES.index(name) for name in cli.datamodule.planted]
    selection = cli.pruning.selection
    return {
        "informative": planted,
        "kept": [int(joint) for joint in selection.indices],
        "keep_probabilities": [round(float(p), 5) for p in selection.keep_probabilities],
        "accuracy": float(cli.trainer.callback_metrics["test_acc"]),
    }


def cells(_store: Store, seeds: int) -> list[Settings]:
    return [{"script": "demo", "seed": seed, "pruned": True} for seed in range(seeds)]


def figures(store: Store, seeds: int) -> list[Figure]:
    found = results(store, cells(store, seeds))
    if not found:
        return []
    scores = [f1(result["kept"], result["informative"]) for result in found]
    figures = [at_least("F1 of the planted joints, mean", 0.9, fmean(scores), scores)]
    if demo := results(store, cells(store, 1)):
        score = f1(demo[0]["kept"], demo[0]["informative"])
        figures.append(
            at_least("F1 of the planted joints, `make demo` itself", 0.9, score, [score])
        )
    kept = [len(result["kept"]) for result in found]
    accuracy = [result["accuracy"] for result in found]
    return [
        *figures,
        Figure("joints kept, of 42", "", spread(kept, 1)),
        Figure("test accuracy under the hard mask", "", spread(accuracy)),
    ]


ROWS = {
    "demo": Row(
        "the demo: synthetic AUTSL, skeleton with RGB and depth",
        "`examples/autsl_fusion.py` at its defaults, 42 joints of which 8 are planted.",
        3,
        cells,
        figures,
    )
}


def main() -> None:
    args = parser(__doc__, ROWS).parse_args()
    measure("demo", ROWS, run, args)


if __name__ == "__main__":
    main()
