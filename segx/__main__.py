"""Run the command as ``python -m segx``."""

from .cli import main

if __name__ == "__main__":
    main()
