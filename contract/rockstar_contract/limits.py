"""Limits and file suffixes of images."""

# The largest image that is decoded, width x height: photos of phones with 50 megapixels fit.
DEFAULT_MAX_PIXELS = 48 * 2**20

# Searches of folders and archives ignore files with other suffixes.
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".webp", ".heic", ".heif"),
    *(".hif", ".avif", ".bmp", ".dib", ".gif", ".apng", ".tif", ".tiff", ".ico", ".cur"),
)
