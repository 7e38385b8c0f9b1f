"""The master: who is alive, who answers for whom, and the page that shows it.

Of the worker's packages it imports `logs` and `settings` alone: its lines, and the types of its settings, are the
worker's. The protocol it spells itself.
"""
