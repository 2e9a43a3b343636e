#!/usr/bin/env python
"""Run Django's commands on the demo project."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
    # The demo is for this machine; every other command gets the settings of a site behind HTTPS.
    if sys.argv[1:2] == ["demo"]:
        os.environ.setdefault("DEMO_DEBUG", "1")
    execute_from_command_line(sys.argv)
