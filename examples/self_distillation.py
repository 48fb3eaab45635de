"""Self-distillation: a network teaches the next generation of itself.

Furlanello et al.: "Born-Again Neural Networks", ICML 2018. The teacher is a trained network of the
same architecture, and every generation starts from new weights.

Run it as `python -m examples.self_distillation`.
"""

import keras

import tfcompress as tfc
from examples.digits import digits, network, tested, train


def main(epochs: int = 30, generations: int = 3, width: int = 4) -> list[float]:
    """Train the generations; their accuracies on the test images."""
    images, labels, *test = digits()
    accuracies: list[float] = []
    teacher = None
    for generation in range(generations):
        keras.utils.set_random_seed(generation)
        trainer = student = network(width, f"generation_{generation}")
        if teacher is not None:
            trainer = tfc.Distiller(teacher, student, tfc.SoftTargets(2))
        train(trainer, images, labels, epochs)
        accuracies.append(tested(student, *test))
        teacher = student
    return accuracies


if __name__ == "__main__":
    main()
