"""`python -m pileway`: the command line."""

from pileway.cli import main

if __name__ == "__main__":
    main()
