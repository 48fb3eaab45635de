"""LiteRT (TFLite) files: written from Keras models, read back, run and measured.

Open `model.py` first (`to_litert`, `LiteModel`). `formats.py` lists the number formats,
`calibration.py` checks calibration data, `file.py` reads what a file holds, `compare.py` compares
two files operator by operator.
"""
