"""Checks a data folder: files missing, truncated, malformed or from different releases."""

from dataset.doctor.check import check_folder, require_valid_data
