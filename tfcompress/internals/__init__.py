"""Names of other packages that those do not promise to keep: each once, with why we need it.

A file per package; open `names.py` first for what a name is and how a missing one is reported. No
other file of the library or the bridge touches a private name.
"""
