import fcntl
import io
import os
import struct
import termios
from contextlib import suppress

from rockstar_training.progress import Epoch, show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(stream, epochs):
    with show_progress("cnn", epochs, stream) as progress:
        for number in range(1, epochs + 1):
            metrics = {"loss": 1 / number, "accuracy": 1 - 1 / (number + 1)}
            progress(Epoch(number, epochs, **metrics, last=number == epochs))
    return stream.getvalue()


def test_few_plain_lines_without_a_terminal():
    lines = run(io.StringIO(), 40).splitlines()
    assert lines[0] == "cnn: epoch 8 of 40, loss 0.125, accuracy 0.889"
    assert len(lines) == 5
    assert lines[-1].startswith("cnn: epoch 40 of 40")


def test_the_last_epoch_is_always_shown():
    assert run(io.StringIO(), 7).splitlines()[-1].startswith("cnn: epoch 7 of 7")
    assert len(run(io.StringIO(), 1).splitlines()) == 1


def test_a_terminal_sees_one_line_that_updates_itself():
    shown_text = run(Terminal(), 4)
    assert shown_text.count("\n") == 1
    assert shown_text.count("\r") >= 4
    assert "accuracy 0.800, loss 0.250" in shown_text


def test_accuracy_is_visible_at_80_columns():
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with (
        os.fdopen(theirs, "w") as terminal,
        show_progress("Training cnn-of-mine", 100, terminal) as told,
    ):
        told(Epoch(100, 100, loss=0.5, accuracy=0.75, val_loss=0.2, val_accuracy=0.875))
    # A terminal may deliver output in several pieces.
    pieces = []
    with os.fdopen(ours, "rb", buffering=0) as screen, suppress(OSError):  # EIO means its end
        while piece := screen.read(10_000):
            pieces.append(piece)
    lines = b"".join(pieces).decode().replace("\n", "\r").split("\r")
    assert any("accuracy 0.750, val 0.875" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_an_early_end_is_shown():
    stream = io.StringIO()
    with show_progress("cnn", 40, stream) as progress:
        progress(Epoch(3, 40, loss=0.5, accuracy=0.75, val_loss=0.25, val_accuracy=1.0, last=True))
    assert stream.getvalue() == (
        "cnn: epoch 3 of 40, loss 0.500, accuracy 0.750, "
        "validation loss 0.250, validation accuracy 1.000\n"
    )


def test_a_regression_has_no_accuracy():
    assert str(Epoch(1, 1, loss=0.5)) == "loss 0.5"
    assert str(Epoch(1, 1, loss=2.5e-7)) == "loss 2.5e-07"


def test_a_training_that_goes_on_starts_its_bar_there():
    stream = Terminal()
    with show_progress("cnn", 4, stream) as progress:
        progress(Epoch(4, 4, loss=1.0, accuracy=0.5, last=True))
    assert "4/4" in stream.getvalue()
