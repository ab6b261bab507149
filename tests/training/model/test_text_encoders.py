from __future__ import annotations

import logging

import pytest
import torch

from tests.training.model.tiny_folders import write_umt5
from training.model.pretrained import umt5_encoder
from training.model.spec import PretrainedBase, UMT5Text
from training.model.text_encoders import HashedTextEncoder


@pytest.fixture(scope="module")
def umt5(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    write_umt5(folder)
    return umt5_encoder(UMT5Text(), PretrainedBase(repo=str(folder)), "cpu", torch.float32)


@pytest.mark.parametrize("kind", ["umt5", "hashed"])
def test_a_text_is_512_states_zero_beyond_its_own(request, kind):
    encoder = request.getfixturevalue("umt5") if kind == "umt5" else HashedTextEncoder()
    states = encoder.encode(["a person talks", ""])
    assert states.shape == (2, 512, encoder.width)
    own = states.abs().sum(-1) > 0
    end_token = 1 if kind == "umt5" else 0
    assert own.sum(1).tolist() == [3 + end_token, end_token]
    assert own[0, : 3 + end_token].all()


def test_padding_changes_no_state_of_umt5(umt5):
    model, tokenizer = umt5._model, umt5._tokenizer
    ids = tokenizer("a person talks", return_tensors="pt").input_ids
    with torch.no_grad():
        wanted = model(ids).last_hidden_state[0]
    got = umt5.encode(["  a  person\ntalks "])[0, : len(wanted)]
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_text_beyond_512_tokens_is_cut_and_said_to_be(umt5, caplog):
    with caplog.at_level(logging.WARNING):
        states = umt5.encode(["person " * 600])
    assert states.shape == (1, 512, 32)
    assert "601 tokens is cut to 512" in caplog.text


def test_the_same_word_has_the_same_state_everywhere():
    encoder = HashedTextEncoder(width=16)
    states = encoder.encode(["Talks, person", "person talks"])
    assert torch.equal(states[0, 0], states[1, 1])
    assert torch.equal(states[0, 1], states[1, 0])
    assert not torch.equal(states[0, 0], states[0, 1])


def test_hashed_states_have_unit_variance():
    words = " ".join(f"word{number}" for number in range(500))
    own = HashedTextEncoder(width=32).encode([words])[0, :500]
    assert abs(float(own.std()) - 1) < 0.02
    assert abs(float(own.mean())) < 0.02
