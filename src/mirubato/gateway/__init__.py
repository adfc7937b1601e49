"""The composer: builds the rooms, joins them, starts and stops them in order."""
