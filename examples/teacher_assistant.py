"""A chain of teachers: a large network teaches a middling one, and that one the small one.

Mirzadeh et al.: "Improved Knowledge Distillation via Teacher Assistant", AAAI 2020. A chain needs
no feature of its own: each link is a Distiller whose teacher is the student before.

Run it as `python -m examples.teacher_assistant`.
"""

import keras

import tfcompress as tfc
from examples.digits import digits, network, tested, train


def main(epochs: int = 30, widths: tuple[int, ...] = (32, 8, 2)) -> dict[str, float]:
    """Train the chain, and the last network alone; accuracies on the test images by name."""
    images, labels, *test = digits()
    accuracies = {}
    teacher = None
    for width, name in [*((width, f"width_{width}") for width in widths), (widths[-1], "alone")]:
        keras.utils.set_random_seed(0)
        trainer = student = network(width, name)
        if teacher is not None and name != "alone":
            losses = [tfc.SoftTargets(4, weight=0.9)]
            trainer = tfc.Distiller(teacher, student, losses, task_weight=0.1)
        train(trainer, images, labels, epochs)
        accuracies[name] = tested(student, *test)
        teacher = student
    return accuracies


if __name__ == "__main__":
    main()
