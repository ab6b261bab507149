"""Recipes are checked strictly, and errors name the way out."""

import pytest

from curation.driver import refuse_lacking
from curation.errors import RecipeError, RunError
from curation.pipeline import build_pipeline
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


def test_a_recipe_that_extends_another_names_only_what_differs(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nextends = "talking_portrait"\n[faces]\nmax_tracks = 2\n'
        '[gates]\n"sync.confidence" = { min = 0.9 }\n'
    )
    (tmp_path / "yours.toml").write_text('extends = "mine.toml"\n[faces]\nmin_face_px = 40\n')
    plain, mine = load_recipe("talking_portrait"), load_recipe(str(tmp_path / "mine.toml"))
    assert (mine.name, mine.stages["faces"].max_tracks) == ("mine", 2)
    assert mine.gates["sync.confidence"].min == 0.9
    changed = {"sync.confidence": mine.gates["sync.confidence"]}
    assert mine.gates == {**plain.gates, **changed}
    yours = load_recipe(str(tmp_path / "yours.toml"), ["faces.max_tracks=3"])
    assert (yours.stages["faces"].max_tracks, yours.stages["faces"].min_face_px) == (3, 40)
    assert "extends" not in yours.resolved()


@pytest.mark.parametrize(
    ("extends", "says"),
    [("self.toml", "extends itself"), ("no_such", "neither a shipped"), (3, "name a recipe")],
)
def test_what_cannot_be_extended_is_refused(tmp_path, extends, says):
    value = extends if isinstance(extends, int) else f'"{extends}"'
    path = tmp_path / "self.toml"
    path.write_text(f"extends = {value}\n")
    with pytest.raises(RecipeError, match=says):
        load_recipe(str(path))


def test_the_full_recipe_is_refused_with_everything_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("TALKREEL_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    pipeline = build_pipeline(load_recipe("talking_portrait_full"))
    with pytest.raises(RunError) as refused:
        refuse_lacking(pipeline)
    said = str(refused.value)
    for stage in ("syncnet", "speaker", "transcript", "caption", "embedding"):
        assert f"\n  {stage}: " in said
    for way in (
        "curate weights fetch syncnet",
        "curate weights fetch lr-asd",
        "curate weights fetch clip-vit-l-14",
        "curate weights fetch laion-aesthetic",
        "curate weights fetch whisper-large-v3-turbo",
        "hf download Qwen",
        "make models",
    ):
        assert way in said


def test_the_default_recipe_demands_nothing_and_says_what_it_does_without(tmp_path, monkeypatch):
    monkeypatch.setenv("TALKREEL_CACHE", str(tmp_path))
    pipeline = build_pipeline(load_recipe("talking_portrait"))
    refuse_lacking(pipeline)
    said = {stage.name: stage.remark() for stage in pipeline.stages}
    assert all(said[name] for name in ("syncnet", "speaker", "transcript", "embedding"))
