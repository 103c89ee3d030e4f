"""Pictures of HDR films: those of the same scene without HDR."""

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorTrc

from dataset.extraction.vgg19 import VGG19
from dataset.extraction.video import picture_of, pictures_at
from tests.videos import decoded, write_light

HDR = ["HLG", "PQ"]


def scene(height=180, width=320):
    """Light (h, w, 3), in [0, 1]: greys from black to white above soft colours of every hue, weak and strong."""
    rows, columns = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    colours = [
        0.5 + 0.5 * np.sin(7 * columns),
        0.5 + 0.5 * np.sin(5 * rows + 1),
        0.5 + 0.5 * np.cos(6 * rows * columns),
    ]
    light = 0.02 + 0.98 * np.stack(colours, -1) ** 2
    light[: height // 4] = np.linspace(0, 1, width)[:, None] ** 2
    return light


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """The scene without HDR and in both forms of HDR."""
    folder = tmp_path_factory.mktemp("films")
    return {form: write_light(folder / f"{form}.mp4", scene(), form) for form in ["BT.709", *HDR]}


def first_frame(path):
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def difference(picture, other):
    """The mean of its absolute values, in levels."""
    return np.abs(picture.astype(int) - other).mean()


@pytest.mark.parametrize("form", HDR)
def test_hdr_gives_networks_and_people_nearly_the_picture_of_the_film_without_it(films, form):
    """2.5 levels (HLG) and 2.6 (PQ) lie between them, 24 and 42 without a conversion; the scaler rounds 1.4 off."""
    (without,), (hdr,) = (decoded(films[each], 1)[0][0] for each in ("BT.709", form))
    assert difference(hdr, without) < 3
    assert np.abs(hdr.astype(int) - without).max() < 40  # at the edge of two colours
    unconverted = first_frame(films[form]).reformat(224, 224, "rgb24").to_ndarray()
    assert difference(unconverted, without) > 8 * difference(hdr, without)
    (without,), (hdr,) = (pictures_at(films[each], [0.5], 90) for each in ("BT.709", form))
    assert difference(hdr, without) < 3


@pytest.mark.parametrize("form", HDR)
def test_lights_brighter_than_white_are_white(tmp_path, form):
    light = np.ones((64, 64, 3))
    light[:, 32:] = 4
    (picture,) = pictures_at(write_light(tmp_path / "film.mp4", light, form), [0.5], 64)
    assert picture.min() >= 253


@pytest.mark.parametrize("transfer", sorted(set(ColorTrc) - {ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67}))
def test_pictures_of_other_films_are_the_scalers_own_to_the_last_bit(films, transfer):
    frame = first_frame(films["BT.709"])
    frame.color_trc, frame.color_primaries = transfer, ColorPrimaries.BT2020
    for height, width in [(224, 224), (None, None)]:
        own = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR").to_ndarray()
        np.testing.assert_array_equal(picture_of(frame, height, width), own)
    np.testing.assert_array_equal(VGG19.prepare(frame), picture_of(frame, 224, 224))
