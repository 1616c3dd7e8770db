"""What training crops and test recordings go through: noise, rooms, bands, speed, erasing."""
