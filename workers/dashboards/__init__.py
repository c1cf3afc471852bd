"""Grafana's dashboards, as data: deploy/grafana/dashboards/*.json is made of these by `make docs`."""
