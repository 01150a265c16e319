"""`python -m presence_actors.cli`: the same as `presence`."""

from presence_actors.cli import main

if __name__ == "__main__":
    main()
