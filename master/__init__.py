"""The master: who is alive, who answers for whom, and the page that shows it."""
