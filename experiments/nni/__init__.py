"""NNI experiments: the script of a trial, and files for nnictl."""
