"""The ground floor: errors, files, signals, progress and arithmetic. Imports nothing else of this project."""
