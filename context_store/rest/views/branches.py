"""Named pointers: branches, of which one is active, and checkpoints."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from context_store.graph.chains import missing
from context_store.models import Branch
from context_store.records import BranchRecord
from context_store.rest import serializers as shapes
from context_store.rest.conditional import only_new
from context_store.rest.pagination import OffsetPagination
from context_store.rest.schema import operation

from .base import StoreViewSet, answer, deleted, found

# In a path, the branch of this name or, without one, the chat's active branch.
ACTIVE = "active"


class BranchViewSet(StoreViewSet):
    tag = "Branches"
    lookup_url_kwarg = "name"
    pagination_class = OffsetPagination

    @operation("list_branches", {200: shapes.BranchPage})
    def list(self, request: Request, chat_id: str) -> Response:
        """List the branches of a chat, oldest first."""
        return self.page(partial(self.store.list_branches, chat_id))

    @operation("create_branch", {201: shapes.Branch}, request=shapes.BranchCreate, problems=[409])
    def create(self, request: Request, chat_id: str) -> Response:
        """Create a branch at a message of the chat, or an empty one."""
        body = self.body(shapes.BranchCreate)
        branch = self.store.create_branch(chat_id, body.pop("name"), branch_id=body.pop("id", None), **body)
        return answer(branch, is_new=True)

    @operation("get_branch", {200: shapes.Branch})
    def retrieve(self, request: Request, chat_id: str, name: str) -> Response:
        """Return a branch. Where none has the name `active`, this is the name of the active one."""
        branch = self.store.get_branch(chat_id, name)
        if branch is None and name == ACTIVE:
            branch = self.store.get_active_branch(chat_id)
        return answer(found(branch, missing("Branch", name)))

    @operation("move_branch", {200: shapes.Branch}, request=shapes.BranchMove, problems=[409])
    def partial_update(self, request: Request, chat_id: str, name: str) -> Response:
        """
        Move the head to a message of the chat, or to none.

        A head that is not `expected_head` answers 409 with the `head_message_id` that it is.
        """
        body = self.body(shapes.BranchMove)
        head = body.pop("head_message_id")
        return answer(by_name(name, lambda known: self.store.move_branch(chat_id, known, head, **body)))

    @operation("delete_branch", {204: None})
    def destroy(self, request: Request, chat_id: str, name: str) -> Response:
        """Delete a branch, not its messages. The active branch answers 400: activate another one first."""
        return deleted(self.store.delete_branch(chat_id, name), missing("Branch", name))

    @operation("activate_branch", {200: shapes.Branch})
    @action(detail=True, methods=["post"])
    def activate(self, request: Request, chat_id: str, name: str) -> Response:
        """Make the branch the chat's active one."""
        self.body()
        return answer(by_name(name, lambda known: self.store.switch_branch(chat_id, known)))


class CheckpointViewSet(StoreViewSet):
    tag = "Checkpoints"
    lookup_url_kwarg = "name"
    pagination_class = OffsetPagination

    @operation("list_checkpoints", {200: shapes.CheckpointPage})
    def list(self, request: Request, chat_id: str) -> Response:
        """List the checkpoints of a chat, newest first."""
        return self.page(partial(self.store.list_checkpoints, chat_id))

    @operation(
        "create_checkpoint",
        {200: shapes.Checkpoint, 201: shapes.Checkpoint},
        request=shapes.CheckpointCreate,
        problems=[409],
    )
    def create(self, request: Request, chat_id: str) -> Response:
        """Name a message (201), or move the name to it if it is there (200)."""
        body = self.body(shapes.CheckpointCreate)
        return self.write(chat_id, body["name"], body["message_id"], checkpoint_id=body.get("id"))

    @operation("get_checkpoint", {200: shapes.Checkpoint})
    def retrieve(self, request: Request, chat_id: str, name: str) -> Response:
        """Return a checkpoint."""
        return answer(found(self.store.get_checkpoint(chat_id, name), missing("Checkpoint", name)))

    @operation(
        "upsert_checkpoint",
        {200: shapes.Checkpoint, 201: shapes.Checkpoint},
        request=shapes.CheckpointUpsert,
        if_none_match=True,
    )
    def update(self, request: Request, chat_id: str, name: str) -> Response:
        """Name a message (201), or move the name to it if it is there (200)."""
        with only_new(request) as options:
            return self.write(chat_id, name, self.body(shapes.CheckpointUpsert)["message_id"], **options)

    @operation("delete_checkpoint", {204: None})
    def destroy(self, request: Request, chat_id: str, name: str) -> Response:
        """Delete a checkpoint, not its message."""
        return deleted(self.store.delete_checkpoint(chat_id, name), missing("Checkpoint", name))

    @operation("restore_checkpoint", {201: shapes.Branch})
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, chat_id: str, name: str) -> Response:
        """Rewind to the checkpoint's message: start a new active branch there."""
        self.body()
        return answer(self.store.restore_checkpoint(chat_id, name), is_new=True)

    def write(self, chat_id: str, name: str, message_id: str, **options: Any) -> Response:
        """Answer with the checkpoint, 201 for a new one, else 200."""
        checkpoint, created = self.store.create_checkpoint(chat_id, name, message_id, **options)
        return answer(checkpoint, is_new=created)


def by_name(name: str, work: Callable[[str | None], BranchRecord]) -> BranchRecord:
    """Return what the work on the named branch does, or for ``active`` without such a branch, on the active one."""
    try:
        return work(name)
    except Branch.DoesNotExist:
        if name != ACTIVE:
            raise
        return work(None)
