"""Retention: payloads and events go to cold storage, come back from it, and months are dropped at last."""
