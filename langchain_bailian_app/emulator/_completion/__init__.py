"""The emulator's application completion: `POST /apps/{app_id}/completion`."""
