"""``python -m tests.services CATALOGUE`` (see `tests.services.process`)."""

from tests.services.process import main

main()
