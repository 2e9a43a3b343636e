"""Branches: named pointers to a head, of which one is active."""

from rest_framework.request import Request
from rest_framework.response import Response

from context_store.exceptions import HeadConflict
from context_store.models import Branch
from context_store.records import BranchRecord
from context_store.rest import serializers as shapes
from context_store.rest.operations import operation
from context_store.rest.pagination import items, page

from .base import StoreView, deleted, found


class BranchListView(StoreView):
    @operation("list_branches", "Branches", {200: shapes.BranchPage})
    def get(self, request: Request, chat_id: str) -> Response:
        """List the branches of a chat, oldest first."""
        return Response(page(items(self.store.list_branches(chat_id))))

    @operation("create_branch", "Branches", {201: shapes.Branch}, body=shapes.BranchCreate, conflicts=(409,))
    def post(self, request: Request, chat_id: str) -> Response:
        """Create a branch at a message of the chat, or an empty one."""
        body = self.body()
        branch = self.store.create_branch(chat_id, body.pop("name"), branch_id=body.pop("id", None), **body)
        return Response(branch._asdict(), status=201)


class NamedBranchView(StoreView):
    def branch(self, chat_id: str, name: str) -> BranchRecord:
        """Return the branch. Raises ``Branch.DoesNotExist``."""
        branch: BranchRecord = found(self.store.get_branch(chat_id, name), missing_branch(name))
        return branch


class BranchView(NamedBranchView):
    @operation("get_branch", "Branches", {200: shapes.Branch})
    def get(self, request: Request, chat_id: str, name: str) -> Response:
        """Return a branch."""
        return Response(self.branch(chat_id, name)._asdict())

    @operation("move_branch", "Branches", {200: shapes.Branch}, body=shapes.BranchMove, conflicts=(409,))
    def patch(self, request: Request, chat_id: str, name: str) -> Response:
        """
        Move the head to a message of the chat, or to none.

        A head that is not `expected_head` answers 409 with the `head_message_id` that it is.
        """
        body, branch = self.body(), self.branch(chat_id, name)
        moved = self.store.update_branch_head(branch.id, body.pop("head_message_id"), **body)
        branch = self.branch(chat_id, name)
        if not moved:
            raise HeadConflict(name, branch.head_message_id)
        return Response(branch._asdict())

    @operation("delete_branch", "Branches", {204: None})
    def delete(self, request: Request, chat_id: str, name: str) -> Response:
        """Delete a branch, not its messages. The active branch answers 400: activate another one first."""
        return deleted(self.store.delete_branch(chat_id, name), missing_branch(name))


class BranchActivateView(NamedBranchView):
    @operation("activate_branch", "Branches", {200: shapes.Branch})
    def post(self, request: Request, chat_id: str, name: str) -> Response:
        """Make the branch the chat's active one."""
        self.body()
        return Response(self.store.set_active_branch(chat_id, self.branch(chat_id, name).id)._asdict())


def missing_branch(name: str) -> Exception:
    return Branch.DoesNotExist(f"There is no branch {name!r}.")
