import tomllib
from importlib.resources import files

import pytest

from curation.recipe import load_recipe as load_curation_recipe
from training.errors import SettingError
from training.recipe import check_recipe, load_recipe, recipe_names


def test_every_shipped_recipe_is_checked_and_named_as_its_file():
    assert recipe_names() == ["portrait_14b", "portrait_1_3b", "tiny"]
    for name in recipe_names():
        assert load_recipe(name).name == name


@pytest.mark.parametrize("name", ["portrait_14b", "portrait_1_3b", "tiny"])
def test_gates_are_on_what_curation_measures_and_can_be_met(name):
    measured = load_curation_recipe("talking_portrait").fields
    bounds = {
        (field, limit)
        for phase in load_recipe(name).phases
        for source in phase.sources
        for field, limits in source.where.items()
        for limit in limits.values()
    }
    assert {field for field, _ in bounds} <= set(measured)
    # Shares and probabilities end at 1.
    shares = [limit for field, limit in bounds if field.endswith(("_ratio", "sync.confidence"))]
    assert all(0 <= limit < 1 for limit in shares) and (shares or name == "tiny")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("run.sead=3", "unknown key run.sead; did you mean 'seed'?"),
        ("runn.seed=3", "unknown key runn; did you mean 'run'?"),
        ("phases.align.stepss=3", "did you mean 'steps'?"),
        ("phases.*.loss.lip_wait=1", "did you mean 'lip_weight'?"),
        ("model.adapter.audio_widht=3", "did you mean 'audio_width'?"),
        ("model.base.num_head=3", "did you mean 'num_heads'?"),
        ("phases.algn.steps=3", "did you mean 'align'?"),
        ("phases.align.steps=0", "phases.0.steps = 0"),
        ("phases.align.num_frames=[16]", "for instance 17"),
        ("model.audio.kind=whisp", "'log_mel'"),
        ("run.seed", "write it as table.key=value"),
        ("encode.audio_context_frames=3", "set both to one number"),
        ("phases.align.trainable=adapter_and_lora", "[model.lora]"),
    ],
)
def test_what_is_wrong_is_said_with_the_nearest_that_is_right(override, said):
    with pytest.raises(SettingError) as refused:
        load_recipe("tiny", [override])
    assert said in str(refused.value)


def test_overrides_reach_one_phase_or_all():
    recipe = load_recipe("tiny", ["phases.hybrid.steps=7", "phases.*.micro_batch=3", "run.seed=9"])
    assert [phase.micro_batch for phase in recipe.phases] == [3] * len(recipe.phases)
    assert {phase.name: phase.steps for phase in recipe.phases}["hybrid"] == 7
    assert recipe.phases[0].steps != 7 and recipe.run.seed == 9


def test_the_digest_names_what_shapes_the_weights_and_nothing_else():
    digest = load_recipe("tiny").digest
    for same in ("run.log_every_steps=7", "data.num_workers=5", "phases.*.accumulation=2"):
        assert load_recipe("tiny", [same]).digest == digest
    for other in ("run.seed=1", "phases.align.learning_rate=0.5", "data.flip_ratio=0.1"):
        assert load_recipe("tiny", [other]).digest != digest


def test_a_resolved_recipe_is_read_back_as_it_was():
    for name in recipe_names():
        recipe = load_recipe(name)
        assert check_recipe(recipe.resolved(), name) == recipe


def test_names_of_phases_differ_and_unknown_recipes_are_refused():
    text = files("training").joinpath("recipes", "tiny.toml").read_text("utf-8")
    tables = tomllib.loads(text)
    tables["phases"][1]["name"] = tables["phases"][0]["name"]
    with pytest.raises(SettingError, match="have to differ"):
        check_recipe(tables, "twice")
    with pytest.raises(SettingError, match="did you mean 'tiny'"):
        load_recipe("tinny")


def test_a_lora_beside_a_base_that_moves_is_refused():
    with pytest.raises(SettingError, match="did not move"):
        load_recipe("tiny", ["model.lora.rank=4"])
