"""The deterministic engine: no Django, no Celery, no clock, no I/O."""
