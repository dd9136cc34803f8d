"""The local page: what `lamppost status` says, for a phone. Opened by hand, closes itself, reads only.

Asks the daemon's socket at each request; holds no key, knows no secret, has no form and no write route.
"""
