"""The tour through the demo project: ``manage.py durable_demo``."""
