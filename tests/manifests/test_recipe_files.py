"""What recipes of curation and of training have in common."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import SchemaError
from manifests.recipe_files import (
    nearest,
    read_recipe,
    recipe_digest,
    shipped_recipes,
    split_override,
)


@pytest.mark.parametrize("package", ["curation", "training"])
def test_every_package_reads_its_own_recipes(package, tmp_path):
    for name in shipped_recipes(package):
        assert read_recipe(name, package)["name"] == name
    with pytest.raises(SchemaError, match=r"neither a shipped recipe .* nor a \.toml file"):
        read_recipe("no such", package)
    own = tmp_path / "own.toml"
    own.write_text("a = 1")
    assert read_recipe(str(own), package) == {"a": 1}
    own.write_text("a = ")
    with pytest.raises(SchemaError, match=r"own\.toml: not valid TOML"):
        read_recipe(str(own), package)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("{min=3}", {"min": 3}),
        ("'3'", "3"),
        ("plain words", "plain words"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_a_value_is_toml_and_what_is_no_toml_is_text(text, value):
    assert split_override(f" run.seed = {text} ") == (["run", "seed"], value)


@given(st.integers(), st.lists(st.text("abc_", min_size=1), min_size=2))
def test_an_override_comes_apart_as_it_was_put_together(value, parts):
    assert split_override(f"{'.'.join(parts)}={value}") == (parts, value)


@pytest.mark.parametrize("override", ["seed=3", "run.seed", ".seed=3", "run.=3", "run..seed=3", ""])
def test_what_is_no_override_is_refused(override):
    with pytest.raises(SchemaError, match=r"write it as table\.key=value"):
        split_override(override)


def test_a_hint_is_the_nearest_name_or_nothing():
    assert nearest("sead", ["seed", "steps"]) == "; did you mean 'seed'?"
    assert nearest("xyz", ["seed", "steps"]) == nearest("seed", []) == ""


def test_the_order_of_keys_does_not_matter_to_a_digest_and_values_do():
    assert recipe_digest({"a": 1, "b": 2}) == recipe_digest({"b": 2, "a": 1})
    assert recipe_digest({"a": 1}) != recipe_digest({"a": 2})
