"""The installer's kit: seeds for cards, by whatever tool the card was written. Never installed on a gateway.

It signs with the batch's key and knows no hub's secrets but the one-time tokens that it puts on cards.
"""
