"""`tfcompress compare`: models of both kinds side by side."""


def test_compare(folder, run, tmp_path):
    lite = tmp_path / "model.tflite"
    run("quantize", folder / "model.keras", lite, "--format", "float16")
    shown = run("compare", folder / "model.keras", lite, "--data", folder / "test.npz")
    assert "macro F1" in shown
    assert "LiteRT" in shown
    assert "on 40 samples" in shown
