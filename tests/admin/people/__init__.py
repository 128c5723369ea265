"""An app with users of its own, and a site for operators alone."""
