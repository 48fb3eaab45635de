"""Self-distillation: a network teaches the next generation of itself.

Furlanello et al.: "Born-Again Neural Networks", ICML 2018. The teacher is a trained network of the
same architecture, and every generation starts from new weights.

Run it as `python -m examples.self_distillation`.
"""

import keras

import tfcompress as tfc
from examples.digits import digits, network


def main(epochs: int = 30, generations: int = 3, width: int = 4) -> list[float]:
    """Train the generations; their accuracies on the test images."""
    train, train_labels, test, test_labels = digits()
    accuracies: list[float] = []
    teacher = None
    for generation in range(generations):
        keras.utils.set_random_seed(generation)
        trainer = student = network(width, f"generation_{generation}")
        if teacher is not None:
            trainer = tfc.Distiller(teacher, student, tfc.SoftTargets(2), task_weight=1)
        trainer.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
        trainer.fit(train, train_labels, 32, epochs, verbose=0)
        accuracy = float((student.predict(test, verbose=0).argmax(-1) == test_labels).mean())
        accuracies.append(accuracy)
        print(f"{student.name}   accuracy {accuracy:.4f}")
        teacher = student
    return accuracies


if __name__ == "__main__":
    main()
