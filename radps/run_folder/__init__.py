"""The files of a run folder: committed context and its history, lock, events, records of tasks, damage and recovery."""
