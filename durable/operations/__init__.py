"""What operators do with instances beyond starting and signalling them: one module for each verb."""
