"""After a run, the model is masked until the callback is detached."""

from __future__ import annotations

import pytest
import torch

from tests.callback.watched import kinds, masks
from tests.runs import SHORT_RUNS, Classifier, J, clips, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


def test_test_and_predict_see_the_mask() -> None:
    model, callback = Classifier(), pruning()
    run = fit(model, callback)
    run.test(model, clips(2), verbose=False)
    run.predict(model, clips(2))

    assert masks(model, "test") == masks(model, "predict") == {callback.selection.mask}
    assert set(kinds(model, "test").values()) == {"masked"}


def test_the_model_after_fit_is_masked_and_detach_gives_the_original_back() -> None:
    model, plain, callback = Classifier(), Classifier(), pruning()
    fit(plain)
    fit(model, callback)
    x = torch.randn(2, 4, J, 2)
    dropped = [joint for joint in range(J) if joint not in callback.selection.indices]
    changed = x.clone()
    changed[:, :, dropped] = torch.nan
    assert torch.equal(model.eval()(x), model(changed))

    callback.detach()
    assert not torch.equal(model(x), model(changed))
    for (_, module), (_, other) in zip(model.named_modules(), plain.named_modules(), strict=True):
        assert module.__dict__.keys() == other.__dict__.keys()
        assert type(module) is type(other)
    callback.detach()  # may be called twice


def test_the_selection_outlives_detach() -> None:
    callback = pruning()
    assert callback.selection.indices == tuple(range(J))
    fit(Classifier(), callback)
    before = callback.selection
    callback.detach()
    assert callback.selection == before
