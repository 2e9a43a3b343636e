from django.contrib import admin
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpResponseRedirect
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from .views import sign_in, switch_user

urlpatterns = [
    # Browsers ask for it on the admin's pages, which name no icon.
    path("favicon.ico", lambda request: HttpResponseRedirect(staticfiles_storage.url("context_store/chat/icon.svg"))),
    path("", include("context_store.chat.urls")),
    path("sign-in/<str:key>/", sign_in, name="sign-in"),
    path("switch-user/", switch_user, name="switch-user"),
    path("admin/", admin.site.urls),
    path("api/", include("context_store.rest.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(), name="docs"),
]
