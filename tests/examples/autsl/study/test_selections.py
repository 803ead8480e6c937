"""A study has the cells that it asks for, and a cell's model sees its selection's joints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.autsl.study.selections import Cell, cells_of, joints_of, path_of
from lightning_jointprune.skeletons import get_skeleton, published_subsets

BODY = "mediapipe_body_hands"


def cell_of(selection: str, joints: list[int], seed: int = 0, **more: object) -> Cell:
    cell = {"encoder": "gru", "seed": seed, "selection": selection, "joints": joints, "args": []}
    return {**cell, **more}


def test_ladder_has_one_run_for_all_numbers_and_others_one_each() -> None:
    names = ["all", "matched", "random", "ladder", "openhands_27"]
    cells = cells_of(["bert", "gru"], [5, 10], [0, 1], names, [])
    found = {name: [c["joints"] for c in cells if c["selection"] == name] for name in names}
    assert found == {
        "ladder": [[10, 5]] * 4,
        "random": [[10], [5]] * 4,
        "matched": [[10], [5]] * 4,
        "all": [[]] * 4,
        "openhands_27": [[]] * 4,
    }
    assert len({path_of(cell, Path()) for cell in cells}) == len(cells)
    assert {cell["selection"] for cell in cells[-8:]} == {"matched"}  # what waits comes last


def test_matched_cell_matches_a_cell_of_the_study_with_its_encoder_and_seed() -> None:
    for chosen in (["ladder"], ["ladder", "learned"]):
        cells = cells_of(["bert", "gru"], [5, 10], [0, 1], [*chosen, "matched"], ["--data=A"])
        for cell in cells:
            if cell["selection"] == "matched":
                assert cell["like"] in cells
                assert cell["like"]["selection"] == chosen[-1]
                assert cell["joints"][0] in cell["like"]["joints"]
                assert all(cell["like"][key] == cell[key] for key in ("encoder", "seed", "args"))


def test_cell_of_other_settings_is_another_file(tmp_path: Path) -> None:
    (cell,) = cells_of(["bert"], [5, 10], [0], ["ladder"], ["--data=A"])
    changes = {"seed": 1, "encoder": "gru", "joints": [9, 5], "args": ["B"], "selection": "random"}
    for key, value in changes.items():
        assert path_of({**cell, key: value}, tmp_path) != path_of(cell, tmp_path)
    assert path_of(dict(reversed(cell.items())), tmp_path) == path_of(cell, tmp_path)


def test_configuration_that_was_edited_is_another_file_of_every_cell(tmp_path: Path) -> None:
    config, paths = tmp_path / "tuned.yaml", []
    for text in ("model: {lr: 0.1}", "model: {lr: 0.2}", "model: {lr: 0.1}"):
        config.write_text(text)
        cells = cells_of(["bert"], [5, 4], [0], ["ladder", "matched"], [f"--config={config}"])
        assert all(cell["like"] in cells for cell in cells if "like" in cell)
        paths.append([path_of(cell, tmp_path) for cell in cells])
    assert not {*paths[0]} & {*paths[1]}
    assert paths[0] == paths[2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["--config", "--config=", "-c", "-c="]), min_size=1, max_size=4))
def test_every_way_to_name_a_configuration_is_read(
    tmp_path_factory: pytest.TempPathFactory, ways: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("configs")
    files = [folder / f"{number}.yaml" for number in range(len(ways))]
    args = ["--data=A"]
    for way, file in zip(ways, files, strict=True):
        file.write_text("model: {lr: 0.1}")
        args += [f"{way}{file}"] if way.endswith("=") else [way, str(file)]
    args += ["--modalities", "skeleton"]
    found = {path_of(*cells_of(["bert"], [5, 4], [0], ["ladder"], args), Path())}
    for file in files:
        file.write_text("model: {lr: 0.2}")
        found.add(path_of(*cells_of(["bert"], [5, 4], [0], ["ladder"], args), Path()))
    assert len(found) == len(files) + 1


def test_arguments_of_one_encoder_reach_its_cells_alone(tmp_path: Path) -> None:
    config, names = tmp_path / "tuned_gru.yaml", ["ladder", "matched"]
    encoders, own = ["bert", "gru"], {"gru": ["--config", str(config)]}
    plain = cells_of(encoders, [5, 4], [0], names, ["--data=A"])
    seen = []
    for text in ("model: {lr: 0.1}", "model: {lr: 0.2}"):
        config.write_text(text)
        cells = cells_of(encoders, [5, 4], [0], names, ["--data=A"], own)
        assert [cell for cell in cells if cell["encoder"] == "bert"] == [
            cell for cell in plain if cell["encoder"] == "bert"
        ]
        tuned = [cell for cell in cells if cell["encoder"] == "gru"]
        assert all(cell["args"] == ["--data=A", *own["gru"]] for cell in tuned)
        assert all(cell["like"] in cells for cell in cells if "like" in cell)
        seen += [path_of(cell, tmp_path) for cell in tuned]
    seen += [path_of(cell, tmp_path) for cell in plain if cell["encoder"] == "gru"]
    assert len({*seen}) == len(seen) == 9


def test_arguments_of_an_encoder_that_the_study_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match=r"out of bert, gru but got 'lstm' in encoder_args\. Add"):
        cells_of(["bert", "gru"], [5, 4], [0], ["ladder"], [], {"gru": [], "lstm": ["--a=1"]})


def test_names_that_are_no_selection_are_refused() -> None:
    with pytest.raises(ValueError, match=r"out of learned, .* sl_gcn_27.* but got 'best'"):
        cells_of(["gru"], [5], [0], ["best"], [])
    with pytest.raises(ValueError, match=r"learned or ladder .* got random, matched\. Add"):
        cells_of(["gru"], [5], [0], ["random", "matched"], [])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 5), st.integers(0, 3))
def test_random_joints_are_as_many_as_asked_for(count: int, more: int, seed: int) -> None:
    drawn = joints_of(cell_of("random", [count], seed), Path(), count + more, None)
    assert len({*drawn}) == count
    assert {*drawn} <= {*range(count + more)}
    assert drawn == joints_of(cell_of("random", [count], seed), Path(), count + more, None)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 74), min_size=1), st.integers(0, 9), st.integers(0, 3), st.data())
def test_what_clips_are_centred_by_is_among_the_joints_that_are_counted(
    tmp_path_factory: pytest.TempPathFactory, always: set[int], more: int, seed: int, data: Any
) -> None:
    count = min(75, len(always) + more)
    others = [joint for joint in range(75) if joint not in always]
    picked = data.draw(st.permutations(others))[: count - len(always)]
    drawn = joints_of(cell_of("random", [count], seed), Path(), 75, BODY, sorted(always))
    assert always <= {*drawn}
    assert len(drawn) == count

    folder, kept = tmp_path_factory.mktemp("study"), always | {*picked}
    path = path_of(cell_of("ladder", [count], seed), folder)
    path.parent.mkdir()
    path.write_text(json.dumps({"results": [{"joints": count, "kept": sorted(kept)}]}))
    cell = cell_of("matched", [count], seed, like=cell_of("ladder", [count], seed))
    matched = {*joints_of(cell, folder, 75, BODY, sorted(always))}
    assert always <= matched
    for part in get_skeleton(BODY).groups.values():
        assert len(matched & {*part}) == len(kept & {*part})


def test_published_set_gets_what_clips_are_centred_by_and_too_few_joints_are_refused() -> None:
    alone = joints_of(cell_of("openhands_27", []), Path(), 543, "mediapipe_holistic")
    more = joints_of(cell_of("openhands_27", []), Path(), 543, "mediapipe_holistic", [0, 1])
    assert {*more} == {*alone, 0, 1}
    with pytest.raises(ValueError, match=r"at least the 3 joints .* centred by but got 2\. Ask"):
        joints_of(cell_of("random", [2]), Path(), 75, None, [4, 5, 6])


def test_other_seeds_and_numbers_draw_other_joints() -> None:
    drawn = [{*joints_of(cell_of("random", [20], s), Path(), 543, None)} for s in range(3)]
    fewer = {*joints_of(cell_of("random", [10], 0), Path(), 543, None)}
    assert drawn[0] != drawn[1] != drawn[2]
    assert not fewer < drawn[0]


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 74), min_size=1), st.integers(0, 3))
def test_matched_joints_have_as_many_of_each_part(
    tmp_path_factory: pytest.TempPathFactory, kept: set[int], seed: int
) -> None:
    folder, count = tmp_path_factory.mktemp("study"), len(kept)
    like = cell_of("ladder", [count], seed)
    path = path_of(like, folder)
    path.parent.mkdir()
    path.write_text(json.dumps({"results": [{"joints": count, "kept": sorted(kept)}]}))
    drawn = {*joints_of(cell_of("matched", [count], seed, like=like), folder, 75, BODY)}
    for part in get_skeleton(BODY).groups.values():
        assert len(drawn & {*part}) == len(kept & {*part})


def test_matched_cell_says_what_it_lacks(tmp_path: Path) -> None:
    cell = cell_of("matched", [5], like=cell_of("ladder", [5]))
    with pytest.raises(ValueError, match=r"finished cell gru_ladder_5_.* Run it first"):
        joints_of(cell, tmp_path, 75, BODY)
    with pytest.raises(ValueError, match=r"a named skeleton, .* Pass --datamodule\.skeleton"):
        joints_of(cell, tmp_path, 75, None)


def test_published_set_has_its_joints_and_needs_their_skeleton() -> None:
    found = joints_of(cell_of("openhands_27", []), Path(), 543, "mediapipe_holistic")
    names = get_skeleton("mediapipe_holistic").joints
    assert {names[joint] for joint in found} == {*published_subsets()["openhands_27"].joints}
    with pytest.raises(ValueError, match=r"that of coco_wholebody_133, but got mediapipe_body_ha"):
        joints_of(cell_of("sl_gcn_27", []), Path(), 75, BODY)
    assert joints_of(cell_of("all", []), Path(), 4, None) == [0, 1, 2, 3]
