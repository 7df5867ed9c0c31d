"""``python -m anacrusis``: the same as the console script."""

from anacrusis.cli import main

main()
