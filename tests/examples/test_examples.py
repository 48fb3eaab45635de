"""The examples run, and what they train learns."""

from examples import self_distillation, teacher_assistant


def test_teacher_assistant():
    accuracies = teacher_assistant.main(epochs=4, widths=(16, 4))
    assert list(accuracies) == ["width_16", "width_4", "alone"]
    assert accuracies["width_16"] > 0.5, "ten classes: chance is 0.1"
    assert min(accuracies.values()) > 0.15


def test_self_distillation():
    accuracies = self_distillation.main(epochs=6, generations=2, width=8)
    assert len(accuracies) == 2
    assert min(accuracies) > 0.4
