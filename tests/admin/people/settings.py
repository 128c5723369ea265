"""The demo's settings, with other users and without the demo's apps and admin."""

from __future__ import annotations

from project.settings import *  # noqa: F403

INSTALLED_APPS = [
    *("django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"),
    *("django.contrib.messages", "django.contrib.staticfiles", "durable", "tests.admin.people"),
]
AUTH_USER_MODEL = "people.Person"
ROOT_URLCONF = "tests.admin.people.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
MIGRATION_MODULES = {"people": None}
ALLOWED_HOSTS = ["testserver"]
