import io

from training.progress import Epoch, shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(stream, epochs):
    with shown("cnn", epochs, stream) as progress:
        for number in range(1, epochs + 1):
            progress(Epoch(number, epochs, loss=1 / number, accuracy=1 - 1 / (number + 1)))
    return stream.getvalue()


def test_few_plain_lines_without_a_terminal():
    lines = run(io.StringIO(), 40).splitlines()
    assert lines[0] == "cnn: epoch 8 of 40, loss 0.125, accuracy 0.889"
    assert len(lines) == 5
    assert lines[-1].startswith("cnn: epoch 40 of 40")


def test_the_last_epoch_is_always_told():
    assert run(io.StringIO(), 7).splitlines()[-1].startswith("cnn: epoch 7 of 7")
    assert len(run(io.StringIO(), 1).splitlines()) == 1


def test_a_terminal_sees_one_line_that_updates_itself():
    shown_text = run(Terminal(), 4)
    assert shown_text.count("\n") == 1
    assert shown_text.count("\r") >= 4
    assert "loss 0.250, accuracy 0.800" in shown_text
