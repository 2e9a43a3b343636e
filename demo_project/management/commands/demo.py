"""Start the demo site, or check that it would start."""

import errno
import logging
import socket
import threading
from argparse import ArgumentParser
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from context_store.models import Chat, Message
from demo_project.checks import PageError, check_site
from demo_project.data import load
from demo_project.users import Credentials, ensure_users, sign_in_key

PORT = 8000
# Seconds for open pages, which wait for news, to end.
SHUTDOWN_SECONDS = 1


class Command(BaseCommand):
    help = (
        "Migrates the demo's database, loads its conversations, makes a user to sign in with and starts the site. "
        "Everything lies in the folder .demo, or the one that DEMO_FOLDER names: remove it to begin anew."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="The address to listen on: 127.0.0.1 unless told.")
        parser.add_argument("--port", type=int, help=f"The port to listen on: {PORT} unless told.")
        parser.add_argument(
            "--check", action="store_true", help="Fetch the site's own pages, from a free port, and end."
        )

    def handle(self, *, host: str, port: int | None, check: bool, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The demo serves plain HTTP and its own static files: start it by manage.py demo.")
        if find_spec("uvicorn") is None:
            raise CommandError("The demo runs on uvicorn: pip install -e '.[demo]'.")
        if port is None:
            port = 0 if check else PORT
        with self._listener(host, port) as listener:
            credentials = self._prepare()
            address = f"http://{host}:{listener.getsockname()[1]}/"
            if check:
                self._check(listener, address, credentials)
            else:
                self._serve(listener, address, credentials)

    def _listener(self, host: str, port: int) -> socket.socket:
        try:
            return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except (OSError, OverflowError) as error:
            is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = f"port {port} is taken" if is_taken else f"cannot listen there: {error}"
            raise CommandError(f"{host}:{port}: {reason}. Choose another one by --port.") from error

    def _prepare(self) -> Credentials:
        call_command("migrate", interactive=False, verbosity=0)
        load(self.stdout)
        return ensure_users()

    def _server(self, log_level: str) -> Any:
        import uvicorn

        application = ASGIStaticFilesHandler(get_asgi_application())  # type: ignore[no-untyped-call]
        return uvicorn.Server(
            uvicorn.Config(application, lifespan="off", log_level=log_level, timeout_graceful_shutdown=SHUTDOWN_SECONDS)
        )

    def _serve(self, listener: socket.socket, address: str, credentials: Credentials) -> None:
        link = f"{address.rstrip('/')}{reverse('sign-in', args=[sign_in_key()])}"
        self.stdout.write(
            f"\n  {self.style.SUCCESS(address)}\n"
            f"  user name: {credentials.name}\n"
            f"  password:  {credentials.password or 'the one that you have set'}\n\n"
            f"  or signed in at once: {link}\n\n"
            f"{Chat.objects.count()} conversations with {Message.objects.count()} messages. Ctrl+C ends the demo."
        )
        self.stdout.flush()  # Into a pipe or a file it would wait for the end.
        try:
            self._server("warning").run(sockets=[listener])
        except KeyboardInterrupt:
            self.stdout.write("")

    def _check(self, listener: socket.socket, address: str, credentials: Credentials) -> None:
        if credentials.password is None:
            raise CommandError(f"The password has been changed: remove {settings.DEMO_FOLDER} to check the demo.")
        logging.getLogger("django").setLevel(logging.ERROR)
        server = self._server("error")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            for page in check_site(address, credentials.name, credentials.password):
                self.stdout.write(f"ok  {page}")
        except PageError as error:
            raise CommandError(str(error)) from error
        finally:
            server.should_exit = True
            thread.join()
        self.stdout.write(self.style.SUCCESS("The demo shows its data."))
