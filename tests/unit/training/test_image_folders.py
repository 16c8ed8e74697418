import os
import sys

import numpy as np
import pytest

from rockstar_contract.inputs import prepare
from rockstar_training.errors import DataError
from rockstar_training.image_folders import FolderExamples, folder_input, scan_folder
from tests.images import encoded, png

NOISE = np.random.default_rng(0)


def picture(*shape: int) -> np.ndarray:
    return NOISE.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def pets(tmp_path):
    """Three gray dogs of 20 x 30, two cats, in several formats."""
    for name in ("dog", "cat"):
        (tmp_path / name).mkdir()
    for number, kind in enumerate(["PNG", "BMP", "GIF"]):
        (tmp_path / "dog" / f"{number}.{kind}").write_bytes(encoded(picture(20, 30), kind))
    (tmp_path / "cat" / "1.png").write_bytes(png(picture(30, 30)))
    (tmp_path / "cat" / "more").mkdir()
    (tmp_path / "cat" / "more" / "2.tiff").write_bytes(encoded(picture(30, 9), "TIFF"))
    return tmp_path


def test_class_folders_in_order_of_their_names(pets):
    folder = scan_folder(pets)
    assert folder.label_names == ("cat", "dog")
    assert folder.labels.tolist() == [0, 0, 1, 1, 1]
    assert [file.name for file in folder.files] == ["1.png", "2.tiff", "0.PNG", "1.BMP", "2.GIF"]
    assert (folder.channels, folder.size, folder.skipped) == (1, 30, ())


def test_the_hash_follows_the_content(pets):
    first = scan_folder(pets).sha256
    assert scan_folder(pets).sha256 == first
    (pets / "cat" / "1.png").write_bytes(png(picture(30, 30)))
    assert scan_folder(pets).sha256 != first


def test_system_files_are_skipped_and_reported(pets):
    for name in (".git", "__MACOSX", "@eaDir", "bird"):
        (pets / name).mkdir()
    (pets / "__MACOSX" / "cat").mkdir()
    (pets / "__MACOSX" / "cat" / "._1.png").write_bytes(b"x")
    (pets / ".git" / "a.png").write_bytes(png(picture(30, 30)))
    for name in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini"):
        (pets / "dog" / name).write_bytes(b"x")
    folder = scan_folder(pets)
    assert len(folder.files) == 5
    assert folder.label_names == ("cat", "dog")
    assert sorted(folder.skipped) == sorted(
        [
            f"{pets}/.git: a hidden folder",
            f"{pets}/@eaDir: a system folder",
            f"{pets}/__MACOSX: a system folder",
            f"{pets}/bird: an empty folder",
            "hidden or system files: 4, such as .DS_Store, ._0.png, Thumbs.db",
        ]
    )


def test_files_that_are_not_images_are_counted_by_kind(pets):
    (pets / "labels.csv").write_text("x")
    (pets / "notes").mkdir()
    for number in range(3):
        (pets / "notes" / f"{number}.xml").write_text("<dog/>")
    (pets / "dog" / "more.xml").write_text("<dog/>")
    folder = scan_folder(pets)
    assert folder.label_names == ("cat", "dog")
    assert folder.labels.tolist() == [0, 0, 1, 1, 1]
    assert list(folder.skipped) == [
        f"{pets}: files outside class folders: 1, such as labels.csv",
        f".xml files, which are not images: 4, such as {pets}/notes/2.xml",
        "notes: a folder without images",
    ]


def test_links_to_folders_are_followed_but_not_in_a_circle(pets, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("birds")
    (elsewhere / "1.png").write_bytes(png(picture(30, 30)))
    (pets / "bird").symlink_to(elsewhere)
    (pets / "cat" / "all").symlink_to(pets)
    folder = scan_folder(pets)
    assert folder.label_names == ("bird", "cat", "dog")
    assert len(folder.files) == 6


def arrange(root, *names):
    """A different small picture at each path."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(picture(12, 12)))
    return root


def parts(folder):
    """The files of each split, relative to the fixture's folder."""
    split = folder.split
    return [
        [f"{folder.files[i].parent.name}/{folder.files[i].name}" for i in each]
        for each in (split.train, split.validation, split.test)
    ]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "TESTING"),
        ("training_set", "valid", "test_set"),
        ("trainset", "ValidationSet", "2_testdata"),
        ("seg_train/seg_train", "seg_dev/seg_dev", "seg_test/seg_test"),
        ("archive/train", "archive/val", "archive/eval"),
    ],
)
def test_splits_are_no_classes(tmp_path, train, val, test):
    arrange(tmp_path, f"{train}/cat/1.png", f"{train}/dog/2.png", f"{train}/dog/3.png")
    arrange(tmp_path, f"{val}/cat/4.png", f"{val}/dog/5.png", f"{test}/cat/6.png")
    arrange(tmp_path, f"{test}/Dog/7.png")
    folder = scan_folder(tmp_path)
    assert folder.label_names == ("cat", "dog")
    assert parts(folder) == [
        ["cat/1.png", "dog/2.png", "dog/3.png"],
        ["cat/4.png", "dog/5.png"],
        ["cat/6.png", "Dog/7.png"],
    ]
    assert folder.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert (folder.skipped, folder.notes) == ((), ())


def test_splits_may_be_folders_of_their_own(tmp_path):
    arrange(tmp_path / "mine", "cat/1.png", "dog/2.png")
    arrange(tmp_path / "theirs", "all/cat/3.png", "all/dog/4.png", "all/fox/5.png")
    folder = scan_folder(tmp_path / "mine", test=tmp_path / "theirs")
    assert parts(folder) == [["cat/1.png", "dog/2.png"], [], ["cat/3.png", "dog/4.png"]]
    (note,) = folder.skipped
    assert note.endswith(f"fox: a class that {tmp_path / 'mine'} does not have (1 files)")
    with pytest.raises(DataError, match=r"no such folder: .*absent"):
        scan_folder(tmp_path / "mine", validation=tmp_path / "absent", test=tmp_path / "theirs")


def test_a_validation_folder_is_held_out_without_a_test_folder(tmp_path):
    arrange(tmp_path, "train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "val/dog/4.png")
    folder = scan_folder(tmp_path)
    assert parts(folder) == [["cat/1.png", "dog/2.png"], [], ["cat/3.png", "dog/4.png"]]
    assert folder.notes[0].startswith("The validation folder is held out for the test")


def test_a_training_folder_alone_is_divided_as_usual(tmp_path):
    arrange(tmp_path, "train/cat/1.png", "train/dog/2.png")
    folder = scan_folder(tmp_path)
    assert (folder.label_names, folder.split) == (("cat", "dog"), None)


def test_the_chest_x_rays_with_their_second_copy(tmp_path):
    for root in ("", "chest_xray/", "__MACOSX/chest_xray/"):
        for split in ("train", "val", "test"):
            arrange(
                tmp_path, f"{root}{split}/NORMAL/{split}.png", f"{root}{split}/SICK/{split}.png"
            )
    folder = scan_folder(tmp_path)
    assert (folder.label_names, len(folder.files)) == (("NORMAL", "SICK"), 6)
    assert sorted(folder.skipped) == [
        f"{tmp_path}/__MACOSX: a system folder",
        f"{tmp_path}/chest_xray: no split with class folders",
    ]


def test_classes_missing_from_the_training_folder_are_skipped(tmp_path):
    arrange(tmp_path, "train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "test/dog/4.png")
    arrange(tmp_path, "test/fox/5.png", "test/fox/6.png", "test/7.png")
    folder = scan_folder(tmp_path)
    assert (folder.label_names, len(folder.files)) == (("cat", "dog"), 4)
    assert list(folder.skipped) == [
        f"{tmp_path}/test: files outside class folders: 1, such as 7.png",
        f"{tmp_path}/test/fox: a class that train does not have (2 files)",
    ]


@pytest.mark.parametrize("names", [("bus", "car", "train"), ("bus", "test", "train")])
def test_a_class_may_be_called_train(tmp_path, names):
    arrange(tmp_path, *(f"{name}/{number}.png" for name in names for number in range(2)))
    arrange(tmp_path, *(f"{name}/night/3.png" for name in ("bus", "train")))
    assert scan_folder(tmp_path).label_names == names


def test_splits_without_classes_are_an_error(tmp_path):
    arrange(tmp_path, "train/cat.1.png", "test1/2.png")
    with pytest.raises(DataError, match="test1 and train hold images without class folders"):
        scan_folder(tmp_path)


def test_subfolders_that_all_classes_have_are_named(tmp_path):
    arrange(tmp_path, *(f"fold_{fold}/{name}/1.png" for fold in "12" for name in ("ill", "well")))
    folder = scan_folder(tmp_path)
    assert folder.label_names == ("fold_1", "fold_2")
    (note,) = folder.skipped
    assert note.startswith(f"{tmp_path}: the subfolders ill, well, which each class has: if they")


def test_a_test_folder_without_classes_is_skipped(tmp_path):
    """As in the German Traffic Sign Recognition Benchmark."""
    arrange(tmp_path, "Train/0/1.png", "Train/1/2.png", "Test/3.png", "Meta/0.png")
    folder = scan_folder(tmp_path)
    assert (folder.label_names, folder.split) == (("0", "1"), None)
    assert f"{tmp_path}/Test: no split with class folders" in folder.skipped


def test_accents_are_the_same_however_they_are_written(tmp_path):
    arrange(tmp_path, "train/Cafe\u0301/1.png", "train/tea/2.png", "test/Caf\u00e9/3.png")
    folder = scan_folder(tmp_path)
    assert (folder.label_names, folder.labels.tolist()) == (("Caf\u00e9", "tea"), [0, 0, 1])


def test_corrupt_files_are_named_and_skipped(pets):
    (pets / "dog" / "notes.txt").write_text("good dogs")
    (pets / "dog" / "cut.png").write_bytes(png(picture(50, 50))[:-400])
    (pets / "cat" / "empty.jpg").touch()
    folder = scan_folder(pets)
    assert len(folder.files) == len(folder.labels) == 5
    first, second, third = folder.skipped
    assert first.startswith(f"{pets}/cat/empty.jpg: expected an image")
    assert "cut.png: expected a whole image" in second
    assert third == f".txt files, which are not images: 1, such as {pets}/dog/notes.txt"


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are always UTF-8")
def test_names_that_are_not_utf8_are_escaped(pets):
    here = os.fsencode(pets / "dog")
    for name, data in (
        (b"r\xe9.png", b""),
        (b"n\xe9.txt", b"x"),
        (b".h\xe9", b"x"),
        (b"ok\xe9.png", png(picture(20, 30))),
    ):
        with open(here + b"/" + name, "wb") as file:
            file.write(data)
    os.mkdir(here + b"/leer\xe9")
    folder = scan_folder(pets)
    assert len(folder.files) == 6
    text = "\n".join(folder.skipped).encode().decode()
    for name in (r"r\udce9.png: expected an", r"n\udce9.txt", r".h\udce9", r"leer\udce9: an empty"):
        assert name in text
    examples = FolderExamples(folder.files, folder_input(8, folder.channels))
    assert examples.tensors(np.arange(6)).shape == (6, 8, 8, 1)


def test_only_files_are_opened(pets):
    os.mkfifo(pets / "dog" / "pipe.png")
    (pets / "cat" / "device.jpg").symlink_to("/dev/null")
    os.mkfifo(pets / "cat" / "pipe")
    assert list(scan_folder(pets).skipped) == [
        f"{pets}/cat/device.jpg: not a file",
        f"{pets}/dog/pipe.png: not a file",
        f"other files, which are not images: 1, such as {pets}/cat/pipe",
    ]


def test_one_color_image_makes_the_folder_color(pets):
    # Gray in three channels is still gray.
    (pets / "dog" / "grey.png").write_bytes(png(np.repeat(picture(30, 30, 1), 3, axis=2)))
    assert scan_folder(pets).channels == 1
    (pets / "dog" / "color.jpg").write_bytes(encoded(picture(30, 30, 3), "JPEG"))
    assert scan_folder(pets).channels == 3


def test_large_photos_are_made_smaller(pets):
    for name in ("dog", "cat"):
        for number in range(3):
            (pets / name / f"large-{number}.png").write_bytes(png(picture(300, 200)))
    assert scan_folder(pets).size == 64


def test_photos_of_24_megapixels_are_prepared_as_they_are_served(pets):
    photo = np.kron(picture(42, 56, 3), np.ones((102, 102, 1), np.uint8))
    (pets / "cat" / "photo.jpe").write_bytes(encoded(photo, "JPEG", quality=60))
    folder = scan_folder(pets)
    assert not folder.skipped
    place = [file.name for file in folder.files].index("photo.jpe")
    spec = folder_input(64, 3)
    served = prepare(folder.files[place].read_bytes(), spec, field="image")
    trained = FolderExamples(folder.files, spec).tensors(np.array([place]))
    np.testing.assert_array_equal(trained[0], served)


def test_a_class_of_damaged_images_is_an_error(pets):
    (pets / "bird").mkdir()
    (pets / "bird" / "a.png").write_bytes(b"tweet")
    with pytest.raises(DataError, match=r"no image of class bird can be read \(1 tried; .*a\.png"):
        scan_folder(pets)


def test_folders_without_any_image_that_can_be_read(tmp_path):
    for name in ("s1/1.jxl", "s1/2.jxl", "s2/1.jxl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\x0a\xfa\x7f")
    with pytest.raises(DataError, match=r"\(3 files tried\): .*s1/1.jxl: .* got a JPEG XL image"):
        scan_folder(tmp_path)


def test_one_class_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"two or more subfolders.*got none: make a subfolder"):
        scan_folder(tmp_path)
    arrange(tmp_path, "1.png")
    with pytest.raises(DataError, match="got none and 1 files: make a subfolder"):
        scan_folder(tmp_path)
    arrange(tmp_path, "cat/1.png")
    with pytest.raises(DataError, match=r"got only cat: .* labels are in a table or in the names"):
        scan_folder(tmp_path)
    arrange(tmp_path, "cat/tabby/2.png")
    with pytest.raises(DataError, match=r"got only cat: add a folder .*give --data folder:.*/cat$"):
        scan_folder(tmp_path)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "notes.txt").touch()
    with pytest.raises(DataError, match="got only cat"):
        scan_folder(tmp_path)


def test_no_folder_is_an_error(tmp_path):
    (tmp_path / "photos.zip").touch()
    with pytest.raises(DataError, match=r"no such folder: .*absent: name a folder with"):
        scan_folder(tmp_path / "absent")
    with pytest.raises(DataError, match=r"photos\.zip is a file; .*unpack an archive"):
        scan_folder(tmp_path / "photos.zip")


@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_tensors_are_the_same_kept_or_not(pets, cache_bytes):
    folder = scan_folder(pets)
    examples = FolderExamples(folder.files, folder_input(12, 1), cache_bytes)
    every = examples.tensors(np.arange(5))
    assert every.shape == (5, 12, 12, 1)
    assert every.dtype == np.float32
    np.testing.assert_array_equal(examples.tensors(np.array([4, 0, 4])), every[[4, 0, 4]])
    assert examples.tensors(np.array([], dtype=np.int64)).shape == (0, 12, 12, 1)
    assert examples.raw(3) == folder.files[3].read_bytes()


def test_small_folders_are_decoded_once(pets):
    folder = scan_folder(pets)
    kept, streamed = (
        FolderExamples(folder.files, folder_input(12, 1), size) for size in (10**9, 0)
    )
    before = kept.tensors(np.arange(5))
    for file in folder.files:
        file.unlink()
    np.testing.assert_array_equal(kept.tensors(np.arange(5)), before)
    with pytest.raises(DataError, match=r"1\.png cannot be read any more"):
        streamed.tensors(np.arange(5))


def test_a_file_that_was_damaged_meanwhile_is_named(pets):
    folder = scan_folder(pets)
    (pets / "cat" / "1.png").write_bytes(b"gone")
    with pytest.raises(DataError, match=r"changed since .*1\.png"):
        FolderExamples(folder.files, folder_input(12, 1)).tensors(np.arange(5))
