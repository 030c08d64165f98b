"""Coroutines, called from threads."""

import asyncio
import threading


class Background:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine):
        """Waits for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)
