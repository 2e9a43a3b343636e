"""Views: about ten lines each, between a shape and a method of the caller's store."""
