"""Set Django up in the fork server of `tests.races`, before it forks the first process."""

import django

django.setup()
