"""`python -m ganline` is `ganline`."""

from ganline.cli import main

if __name__ == "__main__":
    main()
