from django.contrib import admin
from django.urls import include, path
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

# The schema is of the API alone.
SchemaView = extend_schema(exclude=True)(SpectacularAPIView)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("context_store.rest.urls")),
    path("chat/", include("context_store.chat.urls")),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(), name="docs"),
]
