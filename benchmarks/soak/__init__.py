"""Killing the service and its jobs at random moments, and checking that nothing which was acknowledged is lost."""
