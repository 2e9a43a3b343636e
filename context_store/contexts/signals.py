"""What a site may listen to."""

from django.dispatch import Signal

# With ON_ERROR "degrade": a call that failed was answered as if nothing were stored. Arguments: contexts (the store, or
# its scope, that was called), operation ("get", "set", …), keys (as the caller gave them), values (what was to be
# written and is not; {} for what writes no value), error.
contexts_degraded = Signal()
