"""Application completion of the emulator: `POST /apps/{app_id}/completion`."""
