"""The real conversations: the folder that CONTEXT_STORE_TEST_DATA names, else ../shared/data beside the repository."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("CONTEXT_STORE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
OASST = DATA / "oasst_en_100_trees.jsonl"
IN_CI = os.environ.get("CI", "").lower() in ("1", "true")
