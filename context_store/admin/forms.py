"""What staff may write: a chat's title and metadata, a checkpoint, the copy of a chat."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django import forms
from django.forms.fields import InvalidJSONInput
from django.utils.translation import gettext_lazy as _

from context_store.exceptions import InvalidData
from context_store.models import Chat
from context_store.validation import check_identifier, check_metadata, check_text

from .display import json_text


class LegibleJSONField(forms.JSONField):
    """JSON to edit: indented, and with deceptive characters as JSON's own escapes."""

    def prepare_value(self, value: Any) -> Any:
        return super().prepare_value(value) if isinstance(value, InvalidJSONInput) else json_text(value)


class ChatForm(forms.ModelForm):  # type: ignore[type-arg]
    """
    Title and metadata.

    The page carries the metadata that it was made with, so that entries which the application has written meanwhile
    stay as they are, and only what the person changed is changed.
    """

    metadata_before = forms.JSONField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = Chat
        fields = ("title", "metadata")
        field_classes = {"metadata": LegibleJSONField}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "title" in self.fields:
            self.fields["title"].widget = forms.TextInput(attrs={"class": "vTextField", "maxlength": 500})
            self.fields["title"].required = False
        if "metadata" in self.fields:
            self.fields["metadata"].widget.attrs.update({"rows": 12, "spellcheck": "false"})
            self.fields["metadata"].help_text = _("A JSON object. Entries that you leave alone are not written.")
            self.initial["metadata_before"] = json.loads(json.dumps(self.instance.metadata))

    def clean_title(self) -> str | None:
        with _form_errors():
            return check_text(self.cleaned_data["title"] or None, "title")

    def clean_metadata(self) -> dict[str, Any]:
        with _form_errors():
            return check_metadata(self.cleaned_data["metadata"] or {}, "metadata")

    def merged(self, current: dict[str, Any]) -> dict[str, Any]:
        """Return the current metadata with what the person changed."""
        before = self.cleaned_data.get("metadata_before") or {}
        after = self.cleaned_data["metadata"]
        kept = {key: value for key, value in current.items() if key in after or key not in before}
        changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
        return {**kept, **changed}


class CheckpointForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=255)

    def clean_name(self) -> str:
        with _form_errors():
            return check_identifier(self.cleaned_data["name"], "name")


class ForkForm(forms.Form):
    user_id = forms.CharField(
        label=_("User"), max_length=255, help_text=_("Who the copy belongs to: its messages can be read by this user.")
    )
    whole = forms.BooleanField(
        label=_("Copy all branches"),
        required=False,
        help_text=_("Without it the copy has only the messages down to the one that you came from."),
    )

    def clean_user_id(self) -> str:
        with _form_errors():
            return check_identifier(self.cleaned_data["user_id"], "user_id")


@contextmanager
def _form_errors() -> Iterator[None]:
    """Turn the store's refusal into a message at the field."""
    try:
        yield
    except InvalidData as error:
        raise forms.ValidationError(str(error)) from error
