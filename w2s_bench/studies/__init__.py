"""Simulations and measurements behind the statistics page; no verb needs them."""
