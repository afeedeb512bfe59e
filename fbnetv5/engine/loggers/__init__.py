"""Where a run's numbers are shown, beside its own files: ``runtime.loggers``. One module a service."""
