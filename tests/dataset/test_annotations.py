"""Annotations and the labels that follow from them."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from configs.ave import EVENTS
from dataset.annotations import Annotation, class_names, likely_mistakes, read_annotations, segment_labels, video_labels
from utils.errors import InputError

HEADER = "Category&VideoID&Quality&StartTime&EndTime\n"
LINES = (
    "Truck&a-_1&good&0&10\n"
    "Violin, fiddle&b&bad&2&5\n"
    "Truck&b&good&9&10\n"
    "Male speech, man speaking (loud)&d&good&0&0\n"
    "Violin, fiddle&e&good&0&1\n"
)
# A spreadsheet ends lines as Windows does, and puts those with a comma in quotes.
QUOTED = "".join(f'"{line}"\r\n' if "," in line else f"{line}\r\n" for line in LINES.splitlines())


@pytest.fixture
def written(tmp_path):
    """Write an annotation file."""

    def write(contents):
        path = tmp_path / "Annotations.txt"
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
        return path

    return write


@pytest.mark.parametrize(
    "contents",
    [
        *(LINES, HEADER + LINES, LINES.replace("\n", "\r\n"), LINES.strip(), "\n" + LINES.replace("\n", " \n\n")),
        *("\ufeff" + LINES, "\ufeff" + HEADER + LINES),
        *(QUOTED, ("\ufeff" + HEADER + QUOTED).encode("utf-16-le"), ("\ufeff" + QUOTED).encode("utf-16-be")),
    ],
    ids=[
        *("plain", "header", "windows", "no last newline", "blanks", "byte order mark", "byte order mark and header"),
        *("spreadsheet", "spreadsheet in UTF-16", "spreadsheet in big-endian UTF-16"),
    ],
)
def test_lines_are_read_with_or_without_the_header(written, contents):
    assert read_annotations(written(contents)) == [
        Annotation("Truck", "a-_1", "good", 0, 10),
        Annotation("Violin, fiddle", "b", "bad", 2, 5),
        Annotation("Truck", "b", "good", 9, 10),
        Annotation("Male speech, man speaking (loud)", "d", "good", 0, 0),
        Annotation("Violin, fiddle", "e", "good", 0, 1),
    ]


def test_class_index_is_the_order_of_first_appearance(written):
    annotations = read_annotations(written(LINES))
    assert class_names(annotations) == ["Truck", "Violin, fiddle", "Male speech, man speaking (loud)"]
    assert video_labels(annotations).argmax(axis=1).tolist() == [0, 1, 0, 2, 1]
    assert class_names(annotations[::-1]) == ["Violin, fiddle", "Male speech, man speaking (loud)", "Truck"]


def test_event_of_a_single_video_is_odd_where_others_have_more(written):
    truck, bell = "Truck&a&good&0&1\nTruck&b&good&0&1\n", "Churh bell&c&good&0&1\n"
    assert likely_mistakes(read_annotations(written(truck + bell))) == [
        "only one video is annotated 'Churh bell': is it misspelt?"
    ]
    assert likely_mistakes(read_annotations(written(truck))) == []
    assert likely_mistakes(read_annotations(written("Truck&a&good&0&1\n" + bell))) == []  # all have one


def test_video_that_has_the_same_event_twice_is_odd(written):
    """Whatever else the lines say. A video under two events is not: AVE has some."""
    assert likely_mistakes(read_annotations(written("Truck&a&good&0&1\nTruck&a&bad&2&3\n"))) == [
        "2 lines annotate video 'a' with 'Truck', expected one"
    ]
    assert likely_mistakes(read_annotations(written("Truck&a&good&0&1\nBark&a&good&0&1\n"))) == []


def test_segments_from_start_to_before_end_carry_the_event_and_the_rest_is_background(written):
    labels = segment_labels(read_annotations(written(LINES)))
    assert labels.shape == (5, 10, 4)
    assert labels.dtype == np.float32
    assert (np.sort(labels, axis=2) == [0, 0, 0, 1]).all()
    assert labels.argmax(axis=2).tolist() == [
        [0] * 10,
        [3, 3, 1, 1, 1, 3, 3, 3, 3, 3],
        [3] * 9 + [0],
        [3] * 10,  # start = end
        [1] + [3] * 9,
    ]


def test_video_is_labelled_with_its_event_however_short_it_is(written):
    labels = video_labels(read_annotations(written(LINES)))
    assert labels.dtype == np.float32
    assert labels.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]


def test_times_are_checked_against_the_length_of_a_video_where_it_matters(written):
    path = written("Truck&a&good&0&10\nTruck&b&good&3&12\n")
    labels = segment_labels(read_annotations(path, num_segments=12), num_segments=12)
    assert labels.argmax(axis=2).tolist() == [[0] * 10 + [1] * 2, [1] * 3 + [0] * 9]
    assert class_names(read_annotations(path)) == ["Truck"]
    with pytest.raises(InputError, match=r"line 2: the event lasts from 3 to 12 s, expected .* <= 11$"):
        read_annotations(path, num_segments=11)


@pytest.mark.parametrize(
    "line",
    [
        "Truck&c&good&0",
        "Truck&c&good&0&10&1",
        "&c&good&0&10",
        "Truck, c, good, 0, 10",
        "Truck&c&good&zero&10",
        "Truck&c&good&0&",
        "Truck&c&good&-1&10",
        "Truck&c&good&0&9.5",
        "Truck&c&good&0&\N{SUPERSCRIPT TWO}",
        "Truck&c&good&0&11",
        "Truck&c&good&7&6",
        HEADER.strip(),
    ],
)
def test_bad_line_is_named_by_its_number_with_what_was_expected(written, line):
    path = written(f"Truck&a&good&0&10\n\nViolin&b&good&0&10\n{line}\nTruck&d&good&0&10\n")
    with pytest.raises(InputError, match="expected") as error:
        read_annotations(path, num_segments=10)
    assert str(error.value).startswith(f"{path}, line 4: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Siren&clip00&good&1&3.5", "has the end '3.5', but times are whole seconds, in digits alone"),
        ("Siren & clip00 & good & 1 & 3", "has the start ' 1 ', but times are whole seconds, in digits alone"),
        ("Siren,clip00,good,1,3", "has 1 field between '&'"),
        ("Siren&clip00&1&3", "has 4 fields between '&'"),
        ("&clip00&good&1&3", "names no event"),
    ],
)
def test_field_that_is_wrong_is_named(written, line, said):
    with pytest.raises(InputError) as error:
        read_annotations(written(f"{line}\n"))
    assert f"line 1: {line!r} {said}, expected 'event&video id&quality&start&end'" in str(error.value)


@pytest.mark.parametrize("character", ["\x00", "\x07", "\t", "\x0b", "\x1b", "\x1e", "\x7f", "\x85", "\u2028"])
@pytest.mark.parametrize("place", ["Vio{}lin&b&good", "Violin&b{}c&good"])
def test_control_characters_are_refused_with_the_number_of_their_line(written, character, place):
    """Some of them end a line for str.splitlines; they would break tables and files of ids."""
    path = written(f"Truck&a&good&0&10\n{place.format(character)}&0&10\n")
    with pytest.raises(InputError) as error:
        read_annotations(path)
    assert str(error.value).startswith(f"{path}, line 2: ")
    assert "has the control character" in str(error.value)
    assert str(error.value).isprintable()


def test_names_and_ids_may_be_of_any_script(written):
    lines = "Été, rain&-a_1&good&0&10\n钟&नमस्ते&good&0&10\nक्\u200dष&=b&good&0&10\n"
    annotations = read_annotations(written(lines))
    assert class_names(annotations) == ["Été, rain", "钟", "क्\u200dष"]
    assert [annotation.video_id for annotation in annotations] == ["-a_1", "नमस्ते", "=b"]


def test_first_line_is_left_out_only_if_it_is_the_header(written):
    path = written("Category&VideoID&Quality&Start&End\n" + LINES)
    with pytest.raises(InputError, match="line 1: "):
        read_annotations(path)


@pytest.mark.parametrize("contents", ["", "\n \n", HEADER, b"Caf\xe9&a&good&0&10\n"])
def test_file_without_annotations_or_text_is_refused_by_name(written, contents):
    path = written(contents)
    with pytest.raises(InputError) as error:
        read_annotations(path)
    assert str(error.value).startswith(f"{path}: ")


def test_missing_file_and_folder_are_refused_by_name(tmp_path):
    for path in (tmp_path / "nothing.txt", tmp_path):
        with pytest.raises(InputError) as error:
            read_annotations(path)
        assert str(error.value).startswith(f"{path}: ")


# The published files, where the environment variable MAGAN_AVE_DATA names a folder that has them.

REAL = os.environ.get("MAGAN_AVE_DATA")
needs_real_files = pytest.mark.skipif(REAL is None, reason="MAGAN_AVE_DATA names no folder with the files of AVE")


def real(name, key=None):
    path = Path(REAL) / name
    if key is None:
        return read_annotations(path)
    with h5py.File(path) as file:
        return file[key][()]


@needs_real_files
def test_ave_has_4143_videos_of_28_events():
    annotations = real("Annotations.txt")
    names = class_names(annotations)
    assert (len(annotations), len(names)) == (4143, 28)
    assert names == list(EVENTS)
    assert [row for row, annotation in enumerate(annotations) if annotation.start == annotation.end] == [26]
    assert likely_mistakes(annotations) == []


@needs_real_files
def test_video_labels_of_ave_are_the_published_ones():
    published = real("mil_labels.h5", "avadataset")
    assert published.shape == (4143, 29)
    np.testing.assert_array_equal(video_labels(real("Annotations.txt")), published)


@needs_real_files
def test_orders_of_ave_are_disjoint_and_complete():
    orders = [real(f"{split}_order.h5", "order") for split in ("train", "val", "test")]
    assert [len(order) for order in orders] == [3339, 402, 402]
    assert sorted(np.concatenate(orders)) == list(range(4143))


@needs_real_files
def test_some_videos_of_ave_stand_in_several_rows_and_splits():
    """Known of the published data: they are annotated with two events, and train shares some with val and test."""
    ids = [annotation.video_id for annotation in real("Annotations.txt")]
    assert (len(ids), len(set(ids))) == (4143, 4097)
    train, val, test = ({ids[row] for row in real(f"{split}_order.h5", "order")} for split in ("train", "val", "test"))
    assert (len(train & test), len(train & val), len(val & test)) == (8, 10, 0)


@needs_real_files
def test_noisy_videos_of_ave_are_background():
    labels = real("labels_noisy.h5", "avadataset")
    assert labels.shape == (178, 29)
    assert (labels.argmax(axis=1) == 28).all()
    assert (labels.sum(axis=1) == 1).all()


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le", "utf-32"])
def test_text_in_another_encoding_is_refused(written, encoding):
    """UTF-16 without a byte order mark is text with zeros in between."""
    path = written("Café&a&good&0&10\n".encode(encoding))
    with pytest.raises(
        InputError, match=f"{path}(: is not UTF-8 text: .*: save it as UTF-8$|, line 1: .*control char)"
    ):
        read_annotations(path)


def test_half_of_a_utf_16_text_is_refused(written):
    with pytest.raises(InputError, match=r"is not UTF-8 text: .*truncated data: save it as UTF-8"):
        read_annotations(written(LINES.encode("utf-16")[:-1]))
