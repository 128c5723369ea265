"""Settings of the demo project; also what the tests run under.

``DATABASE_URL`` and ``BROKER_URL`` choose the database and the broker. Without them: a SQLite file in
``var/`` and a broker in this process's memory, so that nothing else has to run.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"
VAR_DIR.mkdir(exist_ok=True)


def _secret_key() -> str:
    """Return the key kept in ``var/``, made on first use: a demo has no secret worth committing."""
    path = VAR_DIR / "secret_key"
    if not path.exists():
        draft = VAR_DIR / f"secret_key.{os.getpid()}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(50))
        # A link appears whole or not at all, and never replaces the key that another process made meanwhile.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    return path.read_text()


SECRET_KEY = os.environ.get("SECRET_KEY") or _secret_key()
DEBUG = os.environ.get("DEBUG", "1") == "1"
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "durable",
    "project.audit",
    "project.shop",
    "project.demo",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    # Whoever has a browser in one of the languages of the package sees the admin in it.
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": dj_database_url.config(
        default=f"sqlite:///{VAR_DIR / 'demo.sqlite3'}",
        conn_max_age=None,
        conn_health_checks=True,
    ),
}
DATABASE = DATABASES["default"]
DATABASE.setdefault("OPTIONS", {})
match DATABASE["ENGINE"].rpartition(".")[2]:
    case "sqlite3":
        # IMMEDIATE: a transaction that turns from reading to writing cannot wait for its lock, it fails at once.
        # FULL: in WAL mode, NORMAL may lose the last commits in a power cut; durable promises that it does not.
        DATABASE["OPTIONS"] |= {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
        # A file rather than memory, so that threads and other processes meet the locks that they meet in production.
        DATABASE["TEST"] = {"NAME": str(VAR_DIR / f"test-{os.getpid()}.sqlite3")}
    case "postgresql":
        DATABASE["OPTIONS"] |= {"application_name": "durable", "connect_timeout": 10}
    case "mysql":
        import pymysql

        pymysql.install_as_MySQLdb()
        DATABASE["OPTIONS"] |= {"charset": "utf8mb4", "isolation_level": "read committed"}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"

REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
SPECTACULAR_SETTINGS = {
    "TITLE": "The demo project",
    "DESCRIPTION": "Durable workflows over HTTP.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    # From the project's own static files: a page that fetches code from elsewhere needs the network, and trust.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# Times in seconds that differ from durable's own, e.g. DURABLE_LEASE=3: the demo sets some, to be over soon.
DURABLE: dict[str, Any] = {
    name: float(os.environ[f"DURABLE_{name}"])
    for name in ("LEASE", "POLL", "REDISPATCH")
    if f"DURABLE_{name}" in os.environ
}

# Where the demo's activities leave a line for each time that they run; None is nowhere.
TRACE_FILE = os.environ.get("TRACE_FILE")
# The ledger of the payment service that the shop talks to, which is another company's business.
GATEWAY_FILE = VAR_DIR / "gateway.sqlite3"

CELERY_BROKER_URL = os.environ.get("BROKER_URL", "memory://")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_POOL_LIMIT = 10
# The database is the truth and messages only say "look": fail a publish fast, the sweep repairs it.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 2, "interval_start": 0.05}
BROKER_PATIENCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_TASK_SEND_SENT_EVENT = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 15
CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE = True
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Without it Celery opens a new database connection for every task, whatever CONN_MAX_AGE says.
CELERY_DB_REUSE_MAX = 100_000
match CELERY_BROKER_URL.partition(":")[0]:
    case "redis" | "rediss":
        CELERY_BROKER_TRANSPORT_OPTIONS = {
            "visibility_timeout": 3600,
            "socket_keepalive": True,
            "health_check_interval": 25,
            **BROKER_PATIENCE,
        }
        CELERY_WORKER_DISABLE_PREFETCH = True
    case "amqp" | "amqps" | "pyamqp":
        CELERY_BROKER_TRANSPORT_OPTIONS = {"confirm_publish": True, **BROKER_PATIENCE}
    case "memory":
        # Kombu looks for messages in memory once a second otherwise.
        CELERY_BROKER_TRANSPORT_OPTIONS = {"polling_interval": 0.01}
        # And they reach nobody but their sender: look often for what other processes left.
        DURABLE.setdefault("REDISPATCH", 1.0)
