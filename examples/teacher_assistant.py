"""A chain of teachers: a large network teaches a middling one, and that one the small one.

Mirzadeh et al.: "Improved Knowledge Distillation via Teacher Assistant", AAAI 2020. A chain needs
no feature of its own: each link is a Distiller whose teacher is the student before.

Run it as `python -m examples.teacher_assistant`.
"""

import keras

import tfcompress as tfc
from examples.digits import digits, network


def main(epochs: int = 30, widths: tuple[int, ...] = (32, 8, 2)) -> dict[str, float]:
    """Train the chain, and the last network alone; accuracies on the test images by name."""
    train, train_labels, test, test_labels = digits()
    accuracies = {}

    def fit(trainer: keras.Model) -> None:
        trainer.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
        trainer.fit(train, train_labels, 32, epochs, verbose=0)

    def note(model: keras.Model) -> None:
        accuracy = float((model.predict(test, verbose=0).argmax(-1) == test_labels).mean())
        accuracies[model.name] = accuracy
        print(f"{model.name:24} {model.count_params():7,} weights   accuracy {accuracy:.4f}")

    teacher = None
    for width in widths:
        keras.utils.set_random_seed(0)
        student = network(width, f"width_{width}")
        if teacher is None:
            fit(student)
        else:
            taught = tfc.Distiller(
                teacher, student, tfc.SoftTargets(4, weight=0.9), task_weight=0.1
            )
            fit(taught)
        note(student)
        teacher = student
    keras.utils.set_random_seed(0)
    alone = network(widths[-1], f"width_{widths[-1]}_alone")
    fit(alone)
    note(alone)
    return accuracies


if __name__ == "__main__":
    main()
