"""Start the demo site, or check that it would start."""

import errno
import logging
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler, get_internal_wsgi_application

from context_store.models import Chat, Message
from demo_project.checks import PageError, check_site
from demo_project.users import Credentials, ensure_user

DATA = Path(__file__).resolve().parents[2] / "data"
PORT = 8000


class RequestHandler(WSGIRequestHandler):
    # It writes the headers and the body apart: on a connection that is kept, the body would wait some 40 ms for the
    # browser to acknowledge the headers.
    disable_nagle_algorithm = True


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
        if port is None:
            port = 0 if check else PORT
        with self._server(host, port) as server:
            credentials = self._prepare()
            address = f"http://{host}:{server.server_port}/"
            server.set_app(StaticFilesHandler(get_internal_wsgi_application()))  # type: ignore[no-untyped-call]
            if check:
                self._check(server, address, credentials)
            else:
                self._serve(server, address, credentials)

    def _server(self, host: str, port: int) -> ThreadedWSGIServer:
        try:
            server = ThreadedWSGIServer((host, port), RequestHandler)
        except (OSError, OverflowError) as error:
            is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = f"port {port} is taken" if is_taken else f"cannot listen there: {error}"
            raise CommandError(f"{host}:{port}: {reason}. Choose another one by --port.") from error
        server.daemon_threads = True
        return server

    def _prepare(self) -> Credentials:
        call_command("migrate", interactive=False, verbosity=0)
        for path in sorted(DATA.glob("*.jsonl")):
            self.stdout.write(f"{path.name}: ", ending="")
            call_command("import_chats", str(path), format="context-store", strict=True, stdout=self.stdout)
        return ensure_user()

    def _serve(self, server: ThreadedWSGIServer, address: str, credentials: Credentials) -> None:
        self.stdout.write(
            f"\n  {self.style.SUCCESS(address)}\n"
            f"  user name: {credentials.name}\n"
            f"  password:  {credentials.password or 'the one that you have set'}\n\n"
            f"{Chat.objects.count()} conversations with {Message.objects.count()} messages. Ctrl+C ends the demo."
        )
        self.stdout.flush()  # Into a pipe or a file it would wait for the end.
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            self.stdout.write("")

    def _check(self, server: ThreadedWSGIServer, address: str, credentials: Credentials) -> None:
        if credentials.password is None:
            raise CommandError(f"The password has been changed: remove {settings.DEMO_FOLDER} to check the demo.")
        logging.getLogger("django.server").setLevel(logging.ERROR)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            for page in check_site(address, credentials.name, credentials.password):
                self.stdout.write(f"ok  {page}")
        except PageError as error:
            raise CommandError(str(error)) from error
        finally:
            server.shutdown()
            thread.join()
        self.stdout.write(self.style.SUCCESS("The demo shows its data."))
