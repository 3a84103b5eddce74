"""Open, load, create and write visibilities, images and calibration tables; plan chunks; simulate."""
