import pytest
from pydantic import ValidationError

from training.model.interfaces import Task
from training.objective.curriculum import (
    CurriculumState,
    Phase,
    Plateau,
    advance,
    draw_audio_scope,
    draw_silent,
    draw_task,
)


def _walk(phases, losses, state=None):
    states = [state or CurriculumState()]
    for loss in losses:
        states.append(advance(phases, states[-1], loss))
    return states


def test_phases_follow_each_other_by_their_steps():
    phases = (Phase(name="a", steps=3), Phase(name="b", steps=2))
    states = _walk(phases, [1.0] * 5)
    assert [s.phase_index for s in states] == [0, 0, 0, 1, 1, 2]
    assert [s.phase_step for s in states] == [0, 1, 2, 0, 1, 0]


def test_a_plateau_ends_a_phase_when_the_gain_is_too_small():
    plateau = Plateau(window_steps=2, min_gain_ratio=0.1)
    phases = (Phase(name="a", steps=100, plateau=plateau), Phase(name="b", steps=9))
    falling = [10.0 * 0.8**i for i in range(6)]
    states = _walk(phases, [*falling, 3.2, 3.2, 3.2, 3.2])
    assert states[6].phase_index == 0
    ended = [s.phase_index for s in states].index(1)
    assert 7 < ended <= 10


def test_a_plateau_waits_for_its_least_number_of_steps_and_the_steps_still_bound_it():
    patient = Plateau(window_steps=1, min_gain_ratio=0.1, min_steps=5)
    states = _walk((Phase(name="a", steps=50, plateau=patient),), [1.0] * 5)
    assert [s.phase_index for s in states] == [0, 0, 0, 0, 0, 1]
    falling = _walk((Phase(name="a", steps=4, plateau=patient),), [100.0, 10.0, 1.0, 0.1])
    assert falling[-1].phase_index == 1


def test_a_resumed_walk_is_where_the_whole_walk_was():
    plateau = Plateau(window_steps=3, min_gain_ratio=0.05)
    phases = tuple(Phase(name=n, steps=12, plateau=plateau) for n in "ab")
    losses = [5.0, 4.0, 3.0, 3.0, 2.9, 3.0, 3.1, 2.0, 2.0, 2.0, 2.1, 2.0, 2.0]
    whole = _walk(phases, losses)
    for stop in range(len(losses)):
        assert _walk(phases, losses[stop:], whole[stop])[-1] == whole[-1]


def test_the_learning_rate_rises_then_follows_its_cosine():
    phase = Phase(
        name="a", steps=110, learning_rate=1.0, warmup_steps=10, final_learning_rate_ratio=0.2
    )
    rates = [phase.learning_rate_at(step) for step in range(111)]
    assert rates[:10] == sorted(rates[:10]) and rates[0] > 0
    assert rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.6)
    assert rates[110] == pytest.approx(0.2)


def test_tasks_are_mixed_within_a_step_as_the_recipe_says():
    phase = Phase(name="a", steps=1, tasks={"image": 3, "edit": 1}, silent_ratio=0.25)
    ids = [f"clip{i}" for i in range(2000)]
    tasks = [draw_task(phase, 0, 9, clip_id) for clip_id in ids]
    assert set(tasks) == {Task.IMAGE, Task.EDIT}
    assert abs(tasks.count(Task.EDIT) / 2000 - 0.25) < 0.04
    silent = [draw_silent(phase, 0, 9, clip_id) for clip_id in ids]
    assert abs(sum(silent) / 2000 - 0.25) < 0.04
    assert draw_task(phase, 0, 9, ids[5]) == tasks[5]


def test_the_audio_scope_is_drawn_anew_each_step():
    phase = Phase(name="a", steps=1, audio_scopes={"clip": 0.5, "window": 0.5})
    scopes = [draw_audio_scope(phase, 0, step) for step in range(400)]
    assert abs(scopes.count("clip") / 400 - 0.5) < 0.1


def test_what_cannot_be_is_refused_with_the_way_out():
    with pytest.raises(ValidationError, match="for instance 81"):
        Phase(name="a", steps=1, num_frames=(80,))
    with pytest.raises(ValidationError, match="one of them above 0"):
        Phase(name="a", steps=1, tasks={"image": 0.0})
    with pytest.raises(ValidationError, match="Input should be"):
        Phase(name="a", steps=1, trainable="adaptor")
