"""`python -m recorder`: the command line."""

from recorder.cli import main

if __name__ == "__main__":
    main()
