"""The REST API: ``include("context_store.rest.urls")``. The core never imports it."""
