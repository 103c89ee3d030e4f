"""``tools.extract_features`` turns a folder of videos into an AVE-layout folder, and survives what folders hold."""

import json
import os
import shutil
import sys
from dataclasses import asdict, replace

import h5py
import numpy as np
import pytest
import torch

from dataset.annotations import read_annotations
from dataset.extraction.extractor import FeatureExtractor, extract_features
from dataset.extraction.record import Settings
from dataset.extraction.video import Video, picture_of
from tests.networks import VISUAL
from tests.tools.conftest import BAD, SEGMENTS, film
from tests.videos import grey, silence, write_video
from tools.extract_features import main
from utils.errors import InputError

pytestmark = pytest.mark.slow  # the first one waits for the footage's features
CPU = torch.device("cpu")
EACH_SECOND = Settings(frames_per_second=1, segments=SEGMENTS)
CAFFE = replace(EACH_SECOND, preprocessing="caffe")


def features_of(folder):
    """Both files' contents."""
    arrays = []
    for name in ("visual", "audio"):
        with h5py.File(folder / f"{name}_feature.h5") as file:
            arrays.append(file["avadataset"][()])
    return arrays


def test_rows_are_those_of_the_annotations_whose_videos_can_be_used(extraction, footage):
    visual, audio = features_of(extraction.folder)
    assert visual.shape == (len(footage.good), SEGMENTS, 7, 7, VISUAL["resnet"][1])
    assert audio.shape == (len(footage.good), SEGMENTS, 128)
    assert visual.dtype == audio.dtype == np.float32
    assert visual.min() == audio.min() == 0
    assert read_annotations(extraction.folder / "Annotations.txt", SEGMENTS) == footage.good
    ids = (extraction.folder / "video_ids.txt").read_text().splitlines()
    assert ids == [annotation.video_id for annotation in footage.good]


def test_picture_and_sound_of_an_event_lie_in_its_seconds(extraction, footage):
    """Where nothing happens, the features are those of the silent dark video; elsewhere they are far from them."""
    rows = [annotation.video_id for annotation in footage.good]
    visual, audio = features_of(extraction.folder)
    nothing = rows.index("silent")
    for features in (visual, audio):
        distance = np.linalg.norm((features - features[nothing, :1]).reshape(len(rows), SEGMENTS, -1), axis=-1)
        for row, annotation in enumerate(footage.good):
            happens = (np.arange(SEGMENTS) >= annotation.start) & (np.arange(SEGMENTS) < annotation.end)
            assert (distance[row, happens] > 5).all(), annotation
            assert (distance[row, ~happens] < 1).all(), annotation  # AAC rings a little


@pytest.fixture
def by_small_network(networks):
    """The settings of the extraction."""
    return replace(EACH_SECOND, visual=str(networks / "resnet"), preprocessing="own")


def test_features_are_what_the_networks_say_of_each_video(extraction, footage, weights, by_small_network):
    """Whatever was stopped in between: both calls together have made what one video alone gives."""
    extractor = FeatureExtractor(by_small_network, weights, CPU, batch_size=3)
    visual, audio = features_of(extraction.folder)
    for row in (0, len(footage.good) - 3):
        video = extractor.video(footage.folder / f"{footage.good[row].video_id}.mp4", SEGMENTS)
        parts = zip(*extractor.features(video.seconds()), strict=True)
        for features, alone in zip((visual, audio), map(np.concatenate, parts), strict=True):
            np.testing.assert_allclose(features[row], alone, rtol=1e-3, atol=1e-3)


def test_features_are_recorded_with_the_way_they_were_made(extraction, weights, by_small_network):
    record = json.loads((extraction.folder / "extraction.json").read_text())
    fingerprint = FeatureExtractor(by_small_network, weights, CPU, 1).fingerprint
    assert record == {**asdict(by_small_network), "weights": fingerprint}


def test_bf16_changes_features_by_less_than_its_own_precision(footage, weights):
    """It has 8 bits: each of 16 layers rounds to 0.4 %."""
    video = footage.folder / f"{footage.good[0].video_id}.mp4"
    found = {}
    for precision in ("fp32", "bf16"):
        extractor = FeatureExtractor(replace(CAFFE, precision=precision, map_size=3), weights, CPU, 2)
        # A CPU without bfloat16 takes seconds for a picture of 224 x 224.
        small = Video(video, 1, 1, lambda frame: picture_of(frame, 96, 96))
        parts = zip(*extractor.features(small.seconds()), strict=True)
        found[precision] = [np.concatenate(part) for part in parts]
    for exact, rounded in zip(found["fp32"], found["bf16"], strict=True):
        assert exact.dtype == rounded.dtype == np.float32
        assert 0 < np.linalg.norm(rounded - exact) < 0.02 * np.linalg.norm(exact)


def test_frame_that_stays_goes_through_the_network_once(weights, tmp_path):
    """And the mean over a second counts it as often as it is shown."""
    path = write_video(tmp_path / "slow.mkv", 3, lambda time: grey(50 + 50 * int(time)), silence, frame_rate=1)
    extractor = FeatureExtractor(CAFFE, weights, CPU, batch_size=8)
    pictures, found = [], []
    extractor.visual.register_forward_pre_hook(lambda _, inputs: pictures.append(len(inputs[0])))
    for number in (4, 1):
        extractor.settings = replace(CAFFE, frames_per_second=number)
        found.append(np.concatenate([visual for visual, _ in extractor.features(extractor.video(path).seconds())]))
    often, once = found
    assert sum(pictures) == 6
    np.testing.assert_allclose(often, once, rtol=1e-4, atol=1e-4)


def test_sound_without_numbers_leaves_its_video_out(weights, tmp_path):
    def sound(times):
        return np.where(times < 1, 0.1, np.nan)

    videos = {"nan": write_video(tmp_path / "nan.mkv", 2, lambda _: grey(20), sound, sound_codec="pcm_f32le")}
    extractor = FeatureExtractor(replace(EACH_SECOND, segments=2), weights, CPU, batch_size=8)
    problems = extract_features(videos, extractor, store=None)
    assert problems["nan"].startswith("gives features that are not finite")


def test_video_of_two_rows_is_extracted_once(extraction, footage):
    assert footage.good[0].video_id == footage.good[-1].video_id
    for features in features_of(extraction.folder):
        assert np.array_equal(features[0], features[-1])
    assert (extraction.stopped + extraction.after.stderr).count("extracting [1/15]") == 1


def test_stopped_extraction_goes_on_with_the_videos_that_are_left(extraction):
    assert "interrupted" in extraction.stopped
    assert "of 15 videos were extracted before" in extraction.after.stderr
    assert "extracting [15/" not in extraction.after.stderr


def test_unusable_videos_are_listed_at_the_end_with_their_rows(extraction, footage):
    assert extraction.after.returncode == 1
    assert "Traceback" not in extraction.after.stderr
    *_, listing = extraction.after.stderr.partition("5 of 16 videos are left out:\n")
    ids = [line.split("&")[1] for line in footage.annotations_file.read_text().splitlines()]
    for video_id, problem in BAD.items():
        assert f"  row {ids.index(video_id)}: {video_id} {problem}" in listing
        assert video_id == "absent" or f"{video_id}.mp4 is left out: it {problem}" in extraction.after.stderr


def test_silent_video_is_extracted_with_a_warning(extraction, footage):
    assert "silent.mkv is silent" in extraction.stopped + extraction.after.stderr
    visual, audio = features_of(extraction.folder)
    row = [annotation.video_id for annotation in footage.good].index("silent")
    assert np.ptp(audio[row], axis=0).max() < 1e-3  # each second is as silent as the others
    assert np.isfinite(visual[row]).all()


def test_mended_video_alone_is_extracted_by_another_call(run, extraction, footage, small_extraction, tmp_path):
    """And the files of single videos go when nothing is left to mend."""
    videos, out = tmp_path / "videos", tmp_path / "features"
    videos.mkdir()
    shutil.copytree(extraction.folder, out)
    kept = ["silent.mkv", f"{footage.good[0].video_id}.mp4"]
    for name in kept:
        shutil.copy2(footage.folder / name, videos)
    write_video(videos / "brief.mp4", SEGMENTS, lambda _: grey(100), silence)
    command = ("tools.extract_features", videos, "--out", out, *small_extraction)
    result = run(*command, "--dtype", "float16")
    assert "2 of 3 videos were extracted before" in result.stderr
    assert (out / "video_ids.txt").read_text().split() == [footage.good[0].video_id, "brief", "silent"]
    assert not (out / "extracted").exists()
    before, after = features_of(extraction.folder), features_of(out)
    for old, new in zip(before, after, strict=True):
        assert new.dtype == np.float16
        assert np.array_equal(new[0], old[0].astype(np.float16))

    # What is finished is not touched unawares.
    result = run(*command, status=2)
    assert "already holds visual_feature.h5" in result.stderr


def test_extraction_goes_on_only_as_it_began(run, extraction, footage, small_extraction, tmp_path):
    out = tmp_path / "features"
    shutil.copytree(extraction.folder, out)
    arguments = (footage.folder, "--out", out, *small_extraction)
    result = run("tools.extract_features", *arguments, "--frames_per_second", 2, status=2)
    assert "made with frames_per_second 1, not frames_per_second 2" in result.stderr
    assert "--overwrite" in result.stderr
    assert np.array_equal(features_of(out)[0], features_of(extraction.folder)[0])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--weights", "nowhere"), "argument --weights: nowhere: not a directory"),
        (("--batch_size", 0), "argument --batch_size: 0, expected 1 or more"),
        (("--frames_per_second", "x"), "argument --frames_per_second: invalid positive value: 'x'"),
    ],
)
def test_bad_flag_is_named_with_what_was_expected(monkeypatch, capsys, tmp_path, flags, said):
    monkeypatch.setattr(sys, "argv", ["extract_features", str(tmp_path), "--out", str(tmp_path), *map(str, flags)])
    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code == 2
    assert said in capsys.readouterr().err


def test_bad_input_is_refused_before_anything_is_written(monkeypatch, footage, weights, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "twice").mkdir()
    for name in ("a.mp4", "a.mkv"):
        (tmp_path / "twice" / name).write_bytes(b"")
    not_text = tmp_path / "not_text"
    not_text.mkdir()
    (not_text / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "vgg19-dcbb9e9d.pth").write_bytes(b"damaged")
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    (swapped / "vgg19-dcbb9e9d.pth").symlink_to(weights / "vggish-10086976.pth")
    lines = tmp_path / "mine.txt"
    lines.write_text("Siren&clip.mp4&good&0&1\n")
    for arguments, sentence in {
        (
            footage.folder,
            "--annotations",
            lines,
        ): "whose ids are clip.mp4: expected names of files without their suffix",
        (tmp_path / "nowhere", "--weights", weights): "expected a folder of videos",
        (tmp_path / "empty", "--weights", weights): "has no video files",
        (tmp_path / "twice", "--weights", weights): "a.mkv and a.mp4 are both video 'a': keep one",
        (not_text, "--weights", weights): "is not UTF-8: rename it",
        (footage.folder, "--weights", tmp_path / "empty"): "download it from https://",
        (footage.folder, "--weights", damaged): "is damaged",
        (footage.folder, "--weights", swapped): "are not those of VGG19",
        (footage.folder, "--weights", tmp_path / "empty", "--preprocessing", "caffe"): "notop.h5: does not exist",
        (footage.folder, "--weights", weights, "--annotations", tmp_path / "no.txt"): "no.txt",
        (footage.folder, "--weights", weights, "--gpu", "first"): "--gpu is 'first'",
    }.items():
        flags = ("--gpu", "cpu", "--out", tmp_path / "out")
        monkeypatch.setattr(sys, "argv", ["extract_features", *map(str, (*flags, *arguments))])
        with pytest.raises(InputError) as error:
            main()
        assert sentence in str(error.value)
        assert not (tmp_path / "out").exists()


def test_links_are_followed_to_videos_and_named_where_they_lead_nowhere(
    monkeypatch, caplog, footage, small_extraction, tmp_path
):
    """A folder is no video, whatever its name; and no id leads out of the folder of videos."""
    videos, out = tmp_path / "links", tmp_path / "out"
    videos.mkdir()
    good = footage.folder / f"{footage.good[0].video_id}.mp4"
    for name, target in {"good": good, "gone": "nowhere.mp4", "loop": "loop.mp4", "folder": footage.folder}.items():
        (videos / f"{name}.mp4").symlink_to(target)
    outside = f"../{footage.folder.name}/{good.stem}"
    (tmp_path / footage.folder.name).symlink_to(footage.folder)
    ids = ["good", "gone", "loop", "folder", outside, str(good.with_suffix(""))]
    (tmp_path / "mine.txt").write_text("".join(f"Horn&{video_id}&good&0&1\n" for video_id in ids))
    absent, others = f"has no video file in {videos}", sorted(footage.folder.iterdir())
    for given, rows in (((), ids[1:3]), (("--annotations", tmp_path / "mine.txt", "--overwrite"), ids[1:])):
        caplog.clear()
        monkeypatch.setattr(
            sys, "argv", ["extract_features", *map(str, (videos, "--out", out, *small_extraction, *given))]
        )
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 1
        assert (out / "video_ids.txt").read_text() == "good\n"
        for video_id in rows:
            problem = "cannot be read: " if video_id in ("gone", "loop") else absent
            assert f": {video_id} {problem}" in caplog.text
        assert f"{len(rows)} of {len(rows) + 1} videos are left out" in caplog.text
        assert {path.name for path in tmp_path.iterdir()} == {"links", "out", "mine.txt", footage.folder.name}
        assert sorted(footage.folder.iterdir()) == others
    assert {path.name for path in (out / "extracted").iterdir()} == {"settings.json", "good.npz"}


def test_extraction_needs_nothing_that_windows_lacks(run_without, weights, tmp_path):
    (tmp_path / "videos").mkdir()
    film(tmp_path / "videos/short.mp4", "Horn", 0, 1, seconds=2)
    flags = ("--weights", weights, "--gpu", "cpu", "--segments", 2, "--frames_per_second", 1)
    run_without("posix", "tools.extract_features", tmp_path / "videos", "--out", tmp_path / "out", *flags)
    visual, audio = features_of(tmp_path / "out")
    assert (visual.shape, audio.shape) == ((1, 2, 7, 7, 512), (1, 2, 128))
