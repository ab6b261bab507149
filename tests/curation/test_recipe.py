"""Recipes are checked strictly, and errors name the way out."""

import pytest

from curation.errors import RecipeError
from curation.recipe import check_recipe, load_recipe, override_recipe, recipe_names


def test_every_shipped_recipe_loads():
    assert "talking_portrait" in recipe_names()
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.gates or name == "generated"
        assert recipe.digest == check_recipe(recipe.resolved(), "again").digest


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sync.min_confidense=1", "min_confidence"),
        ("synk.min_confidence=1", "'sync'"),
        ("faces.detect_every=1", "detect_every_s"),
        ("faces.detect_every_s=-1", "greater than 0"),
        ("faces.detect_every_s=often", "number"),
        ("sync", "table.key=value"),
        ("pack.crf=99", "less than or equal to 51"),
    ],
)
def test_a_wrong_override_names_key_and_way_out(override, says):
    with pytest.raises(RecipeError, match=says):
        load_recipe("talking_portrait", [override])


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"fases": {}}, "'faces'"),
        ({"faces": {"min_scor": 0.4}}, "'min_score'"),
        ({"gates": {"sync.confidenc": {"min": 1}}}, "'sync.confidence'"),
        ({"gates": {"sync.confidence": {"mim": 1}}}, "'min'"),
        ({"faces": 3}, "must be a table"),
    ],
)
def test_an_unknown_key_names_the_nearest(tables, says):
    with pytest.raises(RecipeError, match=says):
        check_recipe(tables, "mine.toml")


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(RecipeError, match="did you mean 'talking_portrait'"):
        load_recipe("talking_portraits")
    broken = tmp_path / "broken.toml"
    broken.write_text("[faces\n")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(str(broken))


def test_overrides_reach_settings_gates_and_packing():
    recipe = load_recipe(
        "talking_portrait",
        ["faces.detect_every_s=0.5", "sync.min_confidence=0.25", "pack.crf=23"],
    )
    assert recipe.stages["faces"].detect_every_s == 0.5
    assert recipe.gates["sync.confidence"].min == 0.25
    assert recipe.pack.crf == 23


def test_the_digest_follows_what_shapes_the_dataset_and_nothing_else():
    plain = load_recipe("talking_portrait")
    assert load_recipe("talking_portrait", ["run.deadline_s=7"]).digest == plain.digest
    assert load_recipe("talking_portrait", ["pack.crf=19"]).digest != plain.digest
    assert override_recipe(plain, [], "here").digest == plain.digest


def test_gates_of_a_disabled_stage_are_left_out():
    recipe = load_recipe("talking_portrait", ["sync.enabled=false"])
    assert not [name for name in recipe.gates if name.startswith("sync.")]


def test_generated_clips_are_measured_whole_and_never_refused():
    recipe, trained_on = load_recipe("generated"), load_recipe("talking_portrait")
    assert recipe.gates == {}
    assert recipe.clips.whole_files
    assert not recipe.stages["dedup"].enabled
    differ = {name for name, one in recipe.stages.items() if one != trained_on.stages[name]}
    assert differ == {"probe", "dedup"}  # every other stage measures as it did for training
