from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls)]

if find_spec("context_store.rest") is not None:
    urlpatterns.append(path("api/", include("context_store.rest.urls")))
