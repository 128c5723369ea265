"""The REST API, for Django REST framework: ``path("api/", include("durable.api.urls"))``."""
