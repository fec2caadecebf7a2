"""A library that runs a thread of its own from its import on, which makes forks unsafe."""

from __future__ import annotations

import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()
