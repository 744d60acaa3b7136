"""`python -m cyborg_utils` is the command `cyborg`."""

from cyborg_utils.run.cli import main

main()
