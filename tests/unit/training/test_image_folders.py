import numpy as np
import pytest

from tests.images import encoded, png
from training.errors import DataError
from training.image_folders import FolderExamples, scan_folder
from training.image_inputs import folder_input

NOISE = np.random.default_rng(0)


def picture(*shape: int) -> np.ndarray:
    return NOISE.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def pets(tmp_path):
    """Three grey dogs of 20 x 30, two cats, in several formats."""
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


def test_hidden_files_and_folders_do_not_count(pets):
    (pets / ".git").mkdir()
    (pets / "dog" / ".DS_Store").write_bytes(b"x")
    (pets / "dog" / ".thumbs").mkdir()
    (pets / "dog" / ".thumbs" / "a.png").write_bytes(b"x")
    folder = scan_folder(pets)
    assert (len(folder.files), folder.skipped) == (5, ())
    assert folder.label_names == ("cat", "dog")


def test_corrupt_files_are_named_and_skipped(pets):
    (pets / "dog" / "notes.txt").write_text("good dogs")
    (pets / "dog" / "cut.png").write_bytes(png(picture(50, 50))[:-400])
    (pets / "cat" / "empty.jpg").touch()
    folder = scan_folder(pets)
    assert len(folder.files) == len(folder.labels) == 5
    first, second, third = folder.skipped
    assert first.startswith(f"{pets}/cat/empty.jpg: expected an image")
    assert "cut.png: expected a whole image" in second
    assert "notes.txt" in third


def test_one_colour_image_makes_the_folder_colour(pets):
    # Grey in three channels is still grey.
    (pets / "dog" / "grey.png").write_bytes(png(np.repeat(picture(30, 30, 1), 3, axis=2)))
    assert scan_folder(pets).channels == 1
    (pets / "dog" / "colour.jpg").write_bytes(encoded(picture(30, 30, 3), "JPEG"))
    assert scan_folder(pets).channels == 3


def test_large_photos_are_made_smaller(pets):
    for name in ("dog", "cat"):
        for number in range(3):
            (pets / name / f"large-{number}.png").write_bytes(png(picture(300, 200)))
    assert scan_folder(pets).size == 64


@pytest.mark.parametrize("damaged", [False, True])
def test_a_class_without_images_is_an_error(pets, damaged):
    (pets / "bird").mkdir()
    if damaged:
        (pets / "bird" / "a.png").write_bytes(b"tweet")
    with pytest.raises(DataError, match=r"bird holds no image") as caught:
        scan_folder(pets)
    assert ("a.png" in str(caught.value)) is damaged


def test_one_class_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"two or more subfolders.*got none"):
        scan_folder(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="got only cat"):
        scan_folder(tmp_path)


def test_no_folder_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    for name in ("absent", "file"):
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            scan_folder(tmp_path / name)


@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_tensors_are_the_same_kept_or_not(pets, cache_bytes):
    folder = scan_folder(pets)
    examples = FolderExamples(folder, folder_input(12, 1), cache_bytes)
    every = examples.tensors(np.arange(5))
    assert every.shape == (5, 12, 12, 1)
    assert every.dtype == np.float32
    np.testing.assert_array_equal(examples.tensors(np.array([4, 0, 4])), every[[4, 0, 4]])
    assert examples.tensors(np.array([], dtype=np.int64)).shape == (0, 12, 12, 1)
    assert examples.raw(3) == folder.files[3].read_bytes()
    assert examples.source(3) == str(pets / "dog" / "1.BMP")


def test_small_folders_are_decoded_once(pets):
    folder = scan_folder(pets)
    kept, streamed = (FolderExamples(folder, folder_input(12, 1), size) for size in (10**9, 0))
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
        FolderExamples(folder, folder_input(12, 1)).tensors(np.arange(5))
