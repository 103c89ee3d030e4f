"""From video files to features: VGG-19 maps of the picture, VGGish embeddings of the sound. Needs PyAV."""
