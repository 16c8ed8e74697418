"""Limits and file names that readers of inputs and their settings share."""

# The largest image that is decoded, width x height: photos of phones with 50 megapixels fit.
DEFAULT_MAX_PIXELS = 48 * 2**20

# Files with other names are not taken for images where folders and archives are searched.
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".webp", ".heic", ".heif"),
    *(".hif", ".avif", ".bmp", ".dib", ".gif", ".apng", ".tif", ".tiff", ".ico", ".cur"),
)
