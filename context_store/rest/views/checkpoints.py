"""Checkpoints: named pointers to one message."""

from rest_framework.request import Request
from rest_framework.response import Response

from context_store.models import Checkpoint
from context_store.rest import serializers as shapes
from context_store.rest.operations import operation
from context_store.rest.pagination import items, page

from .base import StoreView, deleted, found


class WritingView(StoreView):
    def write(self, chat_id: str, name: str, message_id: str, checkpoint_id: str | None = None) -> Response:
        """Answer with the checkpoint, 201 for a new one, else 200."""
        status = 200 if self.store.get_checkpoint(chat_id, name) else 201
        checkpoint, _ = self.store.create_checkpoint(chat_id, name, message_id, checkpoint_id=checkpoint_id)
        return Response(checkpoint._asdict(), status=status)


class CheckpointListView(WritingView):
    @operation("list_checkpoints", "Checkpoints", {200: shapes.CheckpointPage})
    def get(self, request: Request, chat_id: str) -> Response:
        """List the checkpoints of a chat, newest first."""
        return Response(page(items(self.store.list_checkpoints(chat_id))))

    @operation(
        "create_checkpoint",
        "Checkpoints",
        {200: shapes.Checkpoint, 201: shapes.Checkpoint},
        body=shapes.CheckpointCreate,
        conflicts=(409,),
    )
    def post(self, request: Request, chat_id: str) -> Response:
        """Name a message (201), or move the name to it if it is there (200)."""
        body = self.body()
        return self.write(chat_id, body["name"], body["message_id"], body.get("id"))


class CheckpointView(WritingView):
    @operation("get_checkpoint", "Checkpoints", {200: shapes.Checkpoint})
    def get(self, request: Request, chat_id: str, name: str) -> Response:
        """Return a checkpoint."""
        return Response(found(self.store.get_checkpoint(chat_id, name), missing_checkpoint(name))._asdict())

    @operation(
        "upsert_checkpoint",
        "Checkpoints",
        {200: shapes.Checkpoint, 201: shapes.Checkpoint},
        body=shapes.CheckpointUpsert,
    )
    def put(self, request: Request, chat_id: str, name: str) -> Response:
        """Name a message (201), or move the name to it if it is there (200)."""
        return self.write(chat_id, name, self.body()["message_id"])

    @operation("delete_checkpoint", "Checkpoints", {204: None})
    def delete(self, request: Request, chat_id: str, name: str) -> Response:
        """Delete a checkpoint, not its message."""
        return deleted(self.store.delete_checkpoint(chat_id, name), missing_checkpoint(name))


class CheckpointRestoreView(StoreView):
    @operation("restore_checkpoint", "Checkpoints", {201: shapes.Branch})
    def post(self, request: Request, chat_id: str, name: str) -> Response:
        """Rewind to the checkpoint's message: start a new active branch there."""
        self.body()
        return Response(self.store.restore_checkpoint(chat_id, name)._asdict(), status=201)


def missing_checkpoint(name: str) -> Exception:
    return Checkpoint.DoesNotExist(f"There is no checkpoint {name!r}.")
