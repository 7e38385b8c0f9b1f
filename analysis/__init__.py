"""Reads the logs of workers and their master back: lines to events, events to episodes, episodes to text, JSON or a page."""
