"""From video files to features: maps of the picture, vectors of the sound, by networks of choice. Needs PyAV."""
