"""What lies beside a film, read as anyone may read it and as evaluation does."""

import json
import zipfile

import numpy as np
import pytest

from training.errors import InputError
from training.evaluation.sidecars import read_region, read_source
from training.generation.record import Made, remove_region, write_record, write_region
from training.generation.settings import make_settings


def masks_of(num_frames, height=37, width=53):
    for t in range(num_frames):
        mask = np.zeros((height, width), bool)
        mask[t : t + 9, 5 : 20 + t // 4] = True
        yield mask


def made(folder):
    return Made(str(folder / "film.mp4"), 10, 53, 37, 25.0, 0, ("said",))


def test_the_region_is_read_again_frame_by_frame(tmp_path):
    write_region(tmp_path / "film.mp4", masks_of(10), 10)
    region = read_region(tmp_path / "film.mp4")
    wanted = list(masks_of(10))
    for number, outside in zip([0, 3, 9, 14], region.outside([0, 3, 9, 14], (53, 37)), strict=True):
        np.testing.assert_array_equal(outside, ~wanted[min(number, 9)])
    assert [path.name for path in tmp_path.iterdir()] == ["film.region.npz"]


def test_the_region_is_numpys_packed_bits(tmp_path):
    write_region(tmp_path / "film.mp4", masks_of(10), 10)
    with np.load(tmp_path / "film.region.npz") as arrays:
        bits, width_px = arrays["region_bits"], int(arrays["width_px"])
    unpacked = np.unpackbits(bits, axis=-1, count=width_px).astype(bool)
    np.testing.assert_array_equal(unpacked, np.stack(list(masks_of(10))))


def test_a_minute_of_a_large_film_is_small_on_disk(tmp_path):
    y, x = np.mgrid[:1080, :1920]
    disc = (x - 960) ** 2 + (y - 700) ** 2 < 300**2
    frames = (np.roll(disc, t, axis=1) for t in range(25) for _ in range(4))
    write_region(tmp_path / "film.mp4", frames, 100)
    assert (tmp_path / "film.region.npz").stat().st_size < 60 * 25 / 100 * 1e5


def test_a_broken_region_is_refused_when_it_is_read(tmp_path):
    write_region(tmp_path / "film.mp4", masks_of(3), 10)  # fewer than the header says
    region = read_region(tmp_path / "film.mp4")
    with pytest.raises(InputError, match="region_bits"):
        list(region.outside([9], (53, 37)))
    with zipfile.ZipFile(tmp_path / "film.region.npz", "w") as archive:
        archive.writestr("other", b"")
    with pytest.raises(InputError, match="holds no array"):
        read_region(tmp_path / "film.mp4")


def test_the_source_is_found_where_both_were_moved_and_not_if_it_is_another_file(tmp_path):
    folder = tmp_path / "one" / "out"
    folder.mkdir(parents=True)
    source = tmp_path / "one" / "take [1] 'ä'.mp4"
    source.write_bytes(b"a film")
    write_record(made(folder), make_settings(), source)
    told = json.loads((folder / "film.json").read_text())
    assert told["source"] == "../take [1] 'ä'.mp4" and told["num_frames"] == 10
    (tmp_path / "one").rename(tmp_path / "two")
    clip = tmp_path / "two" / "out" / "film.mp4"
    assert read_source(clip) == (tmp_path / "two" / source.name, None)
    (tmp_path / "two" / source.name).write_bytes(b"a different one")
    found, fault = read_source(clip)
    assert found is None and "another file" in fault
    (tmp_path / "two" / source.name).unlink()
    assert "is not there; give --source" in read_source(clip)[1]
    assert read_source(tmp_path / "none.mp4") == (None, None)


def test_a_film_that_is_no_edit_takes_the_region_away(tmp_path):
    write_region(tmp_path / "film.mp4", masks_of(3), 3)
    remove_region(tmp_path / "film.mp4")
    remove_region(tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())
