"""`python -m tfcompress.cli` is the command `tfcompress`."""

from tfcompress.cli.main import main

if __name__ == "__main__":
    main()
