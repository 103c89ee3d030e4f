"""Checks a data folder: files missing, truncated, misnamed or from different releases."""

from dataset.doctor.checks import check_folder, require_valid_data

__all__ = ["check_folder", "require_valid_data"]
