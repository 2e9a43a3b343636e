"""Answers while they are written: stored, owned, followed from any point. ``streams["default"]`` is the store."""

from context_store.backends import Backends, index_by_alias
from context_store.records import ChunkRecord, StreamRecord

from .base import BaseStreams, Reaped
from .followers import Follower
from .producers import Producer

__all__ = ["BaseStreams", "ChunkRecord", "Follower", "Producer", "Reaped", "StreamRecord", "StreamsHandler", "streams"]


class StreamsHandler(Backends[BaseStreams]):
    """The backends that ``CONTEXT_STORE_STREAMS`` configures, by alias."""

    setting = "STREAMS"
    default_backend = "context_store.streams.database.DatabaseStreams"


streams = StreamsHandler()
index_by_alias(__name__, streams)
